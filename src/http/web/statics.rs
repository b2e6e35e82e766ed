//! The published ledger as it is in the archive: the addresses are those of C2SP tlog-tiles below `/feed`.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response, Result};

use super::answer;
use super::connection::Lease;
use super::feed::Door;

/// For what never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";
/// For a reader with a scope that asks for bundles of entries.
const OF_ALL_PBXS: &str = "A bundle contains entries of all PBXs, but this reader may see only some: use \
                           /feed/entries; the leaf hashes are in the other tiles.";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) async fn checkpoint(State(door): State<Arc<Door>>) -> Response {
    serve(&door, "checkpoint".to_owned(), TEXT, ASK_AGAIN).await
}

pub(super) async fn tile(
    State(door): State<Arc<Door>>,
    ConnectInfo(lease): ConnectInfo<Lease>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    // Tiles of hashes begin with the number of a level. Anything else may be entries, whatever a filesystem makes of a name.
    let is_of_hashes = path.starts_with(|first: char| first.is_ascii_digit());
    let is_of_some = !is_of_hashes && door.feed.has_scopes;
    if is_of_some && !door.reader(&headers, &lease)?.scope.is_all() {
        return Ok(answer(StatusCode::FORBIDDEN, OF_ALL_PBXS));
    }
    let caching = if is_of_some { "private, no-store" } else { FOR_EVER };
    Ok(serve(&door, format!("tile/{path}"), "application/octet-stream", caching).await)
}

pub(super) async fn key(State(door): State<Arc<Door>>, Path(path): Path<String>) -> Response {
    let content_type = if path.ends_with(".pem") { "application/x-pem-file" } else { TEXT };
    serve(&door, format!("keys/{path}"), content_type, ASK_AGAIN).await
}

pub(super) async fn anchor(State(door): State<Arc<Door>>, Path(path): Path<String>) -> Response {
    let (content_type, caching) = match path.rsplit('.').next() {
        Some("tsr") => ("application/timestamp-reply", FOR_EVER),
        // The certificates of an authority, which grow.
        Some("pem") => ("application/x-pem-file", ASK_AGAIN),
        _ => (TEXT, FOR_EVER),
    };
    serve(&door, format!("anchor/{path}"), content_type, caching).await
}

async fn serve(door: &Door, path: String, content_type: &'static str, caching: &'static str) -> Response {
    if !is_published(&path) {
        return not_there();
    }
    match door.feed.published(path).await {
        Ok(Some(bytes)) => {
            ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching)], bytes).into_response()
        }
        Ok(None) => not_there(),
        // Clients decide how often this happens, so it does not go into the log.
        Err(error) => {
            tracing::debug!("A file of the published ledger cannot be read: {error:#}");
            answer(StatusCode::SERVICE_UNAVAILABLE, "It cannot be read now: check the archive and its disk.")
        }
    }
}

/// Whether the ledger publishes names like this one: not hidden, not set aside, and inside its folder.
pub fn is_published(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain))
}

fn not_there() -> Response {
    answer(
        StatusCode::NOT_FOUND,
        "The published ledger has no such file, or not yet; /feed/checkpoint says how far it is.",
    )
}

#[cfg(test)]
mod tests {
    use super::is_published;

    #[test]
    fn only_names_that_the_ledger_publishes_are_looked_for() {
        for path in [
            "checkpoint",
            "tile/0/x001/067",
            "tile/entries/000.p/17",
            "keys/01234567.vkey",
            "anchor/5.tsa-1.tsr",
        ] {
            assert!(is_published(path), "{path}");
        }
        for path in [
            "",
            "tile/",
            "tile//0",
            "tile/../checkpoint",
            "tile/.callvault",
            "tile/0/000~1",
            "tile/\0",
            "keys/ä",
        ] {
            assert!(!is_published(path), "{path}");
        }
    }
}
