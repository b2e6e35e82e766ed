#!/usr/bin/env bash
# A peer of scripts/bench: the script that administrators run from cron. It checks nothing and promises nothing.
#
#   curl_loop.sh URL USERNAME PASSWORD FOLDER FILES
#
# It logs in, reads the CDR, then asks for a ticket and a download for each name, one after another, FILES of them at most.
# It does no fsync, computes no hash, keeps no database, and archives an error that is sent as HTTP 200.

set -euo pipefail

url=$1 username=$2 password=$3 folder=$4 files=$5
api="$url/api/v1.1.0"

# Posts a body and prints one member of the reply. In bash alone: another process for each file would slow curl down.
ask() {
  local reply member=$4
  reply=$(curl -sS -d "$3" -H 'Content-Type: application/json' "$api/$1$2")
  [[ $reply =~ \"$member\":\"([^\"]*)\" ]] || { echo "$1: $reply" >&2; return 1; }
  echo "${BASH_REMATCH[1]}"
}

md5=$(printf %s "$password" | md5sum | cut -d' ' -f1)
token=$(ask login "" "{\"username\":\"$username\",\"password\":\"$md5\",\"port\":\"8260\"}" token)
from="$(date -d '30 days ago' +%F) 00:00:00"
to="$(date -d tomorrow +%F) 23:59:59"
random=$(ask cdr/get_random "?token=$token" "{\"extid\":\"all\",\"starttime\":\"$from\",\"endtime\":\"$to\"}" random)
curl -sS -G -o "$folder/cdr.csv" --data-urlencode "extid=all" --data-urlencode "starttime=$from" \
  --data-urlencode "endtime=$to" -d "random=$random" -d "token=$token" "$api/cdr/download"
tr ',' '\n' <"$folder/cdr.csv" | tr -d '"\r' | { grep '\.wav$' || true; } | sort -u >"$folder/names"
while read -r name && ((files-- > 0)); do
  random=$(ask recording/get_random "?token=$token" "{\"recording\":\"$name\"}" random)
  curl -sS -G -o "$folder/$name" --data-urlencode "recording=$name" -d "random=$random" -d "token=$token" \
    "$api/recording/download"
done <"$folder/names"
