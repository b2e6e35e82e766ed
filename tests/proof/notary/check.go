// check VKEY LEDGER CHECKPOINTS PROOFS: verifies a published ledger with the Go project's own packages, and nothing of
// callvault's. The tiles are those of C2SP, whose paths lack the height that sumdb's have.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if len(os.Args) != 5 {
		fail("usage: check VKEY LEDGER CHECKPOINTS PROOFS")
	}
	verifier, err := note.NewVerifier(os.Args[1])
	must(err)
	verifiers := note.VerifierList(verifier)
	ledger := os.Args[2]
	tree := readTree(filepath.Join(ledger, "checkpoint"), verifiers)
	hashes := tlog.TileHashReader(tree, &tiles{ledger})
	checkEntries(ledger, tree, hashes)
	sizes := checkHistory(os.Args[3], tree, hashes, verifiers)
	proofs := checkProofs(os.Args[4], verifiers)
	fmt.Printf("%d entries, %d checkpoints, %d proofs: all as signed\n", tree.N, sizes, proofs)
}

// readTree believes the checkpoint in a file if it is signed.
func readTree(path string, verifiers note.Verifiers) tlog.Tree {
	text, err := os.ReadFile(path)
	must(err)
	return parseTree(text, verifiers)
}

func parseTree(text []byte, verifiers note.Verifiers) tlog.Tree {
	opened, err := note.Open(text, verifiers)
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		fail("a checkpoint has too few lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: root}
}

// checkEntries hashes every entry of every bundle and compares it with the authenticated leaf.
func checkEntries(ledger string, tree tlog.Tree, hashes tlog.HashReader) {
	for from := int64(0); from < tree.N; from += 256 {
		width := tree.N - from
		if width > 256 {
			width = 256
		}
		bundle := read(ledger, "tile/entries/"+number(from/256), width)
		for index := from; index < from+width; index++ {
			if len(bundle) < 2 {
				fail("a bundle ends early")
			}
			length := int(binary.BigEndian.Uint16(bundle))
			entry := bundle[2 : 2+length]
			bundle = bundle[2+length:]
			leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			must(err)
			if leaf[0] != tlog.RecordHash(entry) {
				fail(fmt.Sprintf("entry %d is not the one in the tree", index))
			}
		}
	}
}

// checkHistory compares each earlier checkpoint with the tree, and proves that the tree continues it.
func checkHistory(folder string, tree tlog.Tree, hashes tlog.HashReader, verifiers note.Verifiers) int {
	files, err := os.ReadDir(folder)
	must(err)
	for _, file := range files {
		earlier := readTree(filepath.Join(folder, file.Name()), verifiers)
		if earlier.N == 0 {
			continue
		}
		root, err := tlog.TreeHash(earlier.N, hashes)
		must(err)
		if root != earlier.Hash {
			fail(fmt.Sprintf("the tree of %d entries has another root", earlier.N))
		}
		proof, err := tlog.ProveTree(tree.N, earlier.N, hashes)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, earlier.N, earlier.Hash))
	}
	return len(files)
}

// checkProofs verifies files after C2SP tlog-proof@v1, each of which carries its entry.
func checkProofs(folder string, verifiers note.Verifiers) int {
	files, err := os.ReadDir(folder)
	must(err)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		must(err)
		head, checkpoint, found := strings.Cut(string(text), "\n\n")
		if !found {
			fail("a proof has no checkpoint")
		}
		lines := strings.Split(head, "\n")
		if lines[0] != "c2sp.org/tlog-proof@v1" {
			fail("a proof begins otherwise")
		}
		entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
		must(err)
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
		must(err)
		var proof tlog.RecordProof
		for _, line := range lines[3:] {
			hash, err := tlog.ParseHash(line)
			must(err)
			proof = append(proof, hash)
		}
		tree := parseTree([]byte(checkpoint), verifiers)
		must(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
	}
	return len(files)
}

// tiles reads tiles from files; the hash reader above it authenticates them.
type tiles struct{ ledger string }

func (t *tiles) Height() int { return height }

func (t *tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := fmt.Sprintf("tile/%d/%s", tile.L, number(tile.N))
		all = append(all, read(t.ledger, path, int64(tile.W))[:tile.W*tlog.HashSize])
	}
	return all, nil
}

// read gives a partial file, or the full one that has replaced it.
func read(ledger, path string, width int64) []byte {
	if width < 256 {
		partial := filepath.Join(ledger, fmt.Sprintf("%s.p/%d", path, width))
		if bytes, err := os.ReadFile(partial); err == nil {
			return bytes
		}
	}
	bytes, err := os.ReadFile(filepath.Join(ledger, path))
	must(err)
	return bytes
}

func number(n int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
