//! Names that break programs which trust them.

/// The names, each a way in which a file name goes wrong.
pub(super) fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "../../../etc/odd.wav",
        "a/b/c.wav",
        "/absolute.wav",
        "with spaces (2).wav",
        "+49*30#12(6200).wav",
        "bell\u{7}and\u{1b}[2J.wav",
        "bidi-\u{202e}vaw.txt.wav",
        "CON",
        "con.wav",
        ".hidden.wav",
        "grüße-录音.wav",
        "Same-but-for-case.wav",
        "same-BUT-for-case.wav",
        "no-extension",
        "trailing-dot.",
        "new\nline.wav",
        "comma,and\"quote\".wav",
        "percent%2e%2e%2f.wav",
        "query?recording=x&random=y;z.wav",
        "back\\slash.wav",
        "-rf.wav",
        "~home.wav",
        "..",
        "nul\0byte.wav",
        "upper.WAV",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push([&[b'x'; 296][..], b".wav"].concat());
    // "Recording" in GBK: not UTF-8.
    names.push(b"\xc2\xbc\xd2\xf4.wav".to_vec());
    names
}
