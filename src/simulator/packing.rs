//! Recordings that are no plain WAV files, and WAV files whose headers are wrong: what devices and converters write.

use bytes::Bytes;

use super::audio::{SAMPLE_RATE, SimAudio, tone};
use super::chance::mix;

/// What audio is packed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// WAV behind tags and filling of 200 kB.
    Tagged,
    /// WAV with big-endian numbers.
    Rifx,
    /// WAV with 64-bit sizes.
    Rf64,
    /// The same under its other name.
    Bw64,
    /// Sony Wave64.
    W64,
    /// Sun AU.
    Au,
    /// AIFF.
    Aiff,
    /// Core Audio Format.
    Caf,
    /// Ogg with an Opus stream.
    Ogg,
    /// M4A.
    Mp4,
    /// MPEG audio behind an `ID3v2` tag of 300 kB.
    Mp3,
    /// AAC in ADTS frames.
    Adts,
    /// AMR.
    Amr,
    /// FLAC.
    Flac,
}

impl Packing {
    /// All that there are.
    pub const ALL: [Self; 14] = [
        Self::Tagged,
        Self::Rifx,
        Self::Rf64,
        Self::Bw64,
        Self::W64,
        Self::Au,
        Self::Aiff,
        Self::Caf,
        Self::Ogg,
        Self::Mp4,
        Self::Mp3,
        Self::Adts,
        Self::Amr,
        Self::Flac,
    ];

    /// Whether a file shows that something is missing at its end.
    pub fn tells_its_length(self) -> bool {
        !matches!(self, Self::Mp3 | Self::Adts | Self::Amr | Self::Flac)
    }
}

/// Bytes of tags before a WAV file's audio, and before MPEG audio.
const TAG_BYTES: usize = 200_000;

impl SimAudio {
    /// Audio of so many seconds, packed in this way; `key` makes it different from all others.
    pub fn packed(packing: Packing, seconds: u32, key: u64) -> Self {
        let samples = samples(seconds, key);
        let (le, be) = (pcm(&samples, i16::to_le_bytes), pcm(&samples, i16::to_be_bytes));
        Self::Given(Bytes::from(match packing {
            Packing::Tagged => tagged(&le),
            Packing::Rifx => rifx(&be),
            Packing::Rf64 => rf64(b"RF64", &le),
            Packing::Bw64 => rf64(b"BW64", &le),
            Packing::W64 => w64(&le),
            Packing::Au => au(&be),
            Packing::Aiff => aiff(&be),
            Packing::Caf => caf(&le),
            Packing::Ogg => ogg(seconds, key),
            Packing::Mp4 => mp4(seconds, key),
            Packing::Mp3 => mp3(seconds, key),
            Packing::Adts => adts(seconds, key),
            Packing::Amr => amr(seconds, key),
            Packing::Flac => flac(seconds, key),
        }))
    }

    /// A stereo call of so many seconds in 16-bit PCM, of which only some sides are heard.
    pub fn stereo(seconds: u32, heard: [bool; 2], key: u64) -> Self {
        let sides = |sample: i16| heard.map(|is_heard| if is_heard { sample } else { 0 });
        let frames: Vec<i16> = samples(seconds, key).into_iter().flat_map(sides).collect();
        Self::Given(riff(&fmt(2), &pcm(&frames, i16::to_le_bytes)).into())
    }

    /// The same WAV file with another block align in its header.
    pub fn with_block_align(&self, align: u16) -> Self {
        self.patched(32, &align.to_le_bytes())
    }

    /// The same WAV file of 16-bit PCM with other sizes in its header: that of the file, and that of the audio.
    pub fn with_sizes(&self, riff: u32, data: u32) -> Self {
        self.patched(4, &riff.to_le_bytes()).patched(40, &data.to_le_bytes())
    }

    fn patched(&self, at: usize, bytes: &[u8]) -> Self {
        let mut file = self.to_vec();
        if let Some(place) = file.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        Self::Given(file.into())
    }
}

fn samples(seconds: u32, key: u64) -> Vec<i16> {
    let count = u64::from(seconds) * u64::from(SAMPLE_RATE);
    let first = (mix(key, 7, 0) & 0x3fff) as i16 + 100;
    std::iter::once(first).chain((1..count).map(|at| tone(at + key % 20))).collect()
}

fn pcm(samples: &[i16], bytes: impl Fn(i16) -> [u8; 2]) -> Vec<u8> {
    samples.iter().flat_map(|sample| bytes(*sample)).collect()
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn fmt(channels: u16) -> Vec<u8> {
    let align = channels * 2;
    let rate = SAMPLE_RATE * u32::from(align);
    [
        &1_u16.to_le_bytes()[..],
        &channels.to_le_bytes(),
        &SAMPLE_RATE.to_le_bytes(),
        &rate.to_le_bytes(),
        &align.to_le_bytes(),
        &16_u16.to_le_bytes(),
    ]
    .concat()
}

fn chunk(id: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut chunk = [&id[..], &narrow(content.len()).to_le_bytes(), content].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

fn riff(fmt: &[u8], data: &[u8]) -> Vec<u8> {
    chunk(b"RIFF", &[b"WAVE".to_vec(), chunk(b"fmt ", fmt), chunk(b"data", data)].concat())
}

fn tagged(data: &[u8]) -> Vec<u8> {
    let tags =
        [chunk(b"JUNK", &vec![0; TAG_BYTES]), chunk(b"bext", &[b'b'; 602]), chunk(b"LIST", &[b'i'; 70_000])];
    let rest = [chunk(b"fmt ", &fmt(1)), chunk(b"id3 ", &[b't'; 70_001]), chunk(b"data", data)];
    chunk(b"RIFF", &[b"WAVE".to_vec(), tags.concat(), rest.concat()].concat())
}

fn chunk_be(id: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut chunk = chunk(id, content);
    chunk[4..8].copy_from_slice(&narrow(content.len()).to_be_bytes());
    chunk
}

fn rifx(data: &[u8]) -> Vec<u8> {
    let fmt = [
        &1_u16.to_be_bytes()[..],
        &1_u16.to_be_bytes(),
        &SAMPLE_RATE.to_be_bytes(),
        &(SAMPLE_RATE * 2).to_be_bytes(),
        &2_u16.to_be_bytes(),
        &16_u16.to_be_bytes(),
    ]
    .concat();
    chunk_be(b"RIFX", &[b"WAVE".to_vec(), chunk_be(b"fmt ", &fmt), chunk_be(b"data", data)].concat())
}

fn rf64(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let bytes = data.len() as u64;
    let sizes =
        [&(bytes + 72).to_le_bytes()[..], &bytes.to_le_bytes(), &(bytes / 2).to_le_bytes(), &[0; 4]].concat();
    let endless = u32::MAX.to_le_bytes();
    [&id[..], &endless, b"WAVE", &chunk(b"ds64", &sizes), &chunk(b"fmt ", &fmt(1)), b"data", &endless, data]
        .concat()
}

/// What follows the first four letters in the GUIDs of W64; that of the file differs.
const W64_TAIL: &[u8] = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";

fn w64(data: &[u8]) -> Vec<u8> {
    let chunk = |id: &[u8; 4], content: &[u8]| {
        let size = content.len() as u64 + 24;
        let mut chunk = [id, W64_TAIL, &size.to_le_bytes()[..], content].concat();
        chunk.resize(chunk.len().next_multiple_of(8), 0);
        chunk
    };
    let chunks = [chunk(b"fmt ", &fmt(1)), chunk(b"data", data)].concat();
    let size = chunks.len() as u64 + 40;
    let guid = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
    [guid, &size.to_le_bytes()[..], b"wave", W64_TAIL, &chunks].concat()
}

fn au(data: &[u8]) -> Vec<u8> {
    let numbers = [32, narrow(data.len()), 3, SAMPLE_RATE, 1];
    [b".snd".to_vec(), numbers.map(u32::to_be_bytes).concat(), b"a note\0\0".to_vec(), data.to_vec()].concat()
}

fn aiff(data: &[u8]) -> Vec<u8> {
    let common = [
        &1_u16.to_be_bytes()[..],
        &narrow(data.len() / 2).to_be_bytes(),
        &16_u16.to_be_bytes(),
        // 8000 as a number of 80 bits.
        &[0x40, 0x0b, 0xfa, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let sound = [&[0; 8][..], data].concat();
    chunk_be(b"FORM", &[b"AIFF".to_vec(), chunk_be(b"COMM", &common), chunk_be(b"SSND", &sound)].concat())
}

fn caf(data: &[u8]) -> Vec<u8> {
    let chunk =
        |id: &[u8; 4], content: &[u8]| [&id[..], &(content.len() as u64).to_be_bytes(), content].concat();
    let desc = [
        &f64::from(SAMPLE_RATE).to_be_bytes()[..],
        b"lpcm",
        &[2, 2, 1, 1, 16].map(u32::to_be_bytes).concat(),
    ];
    let sound = [&[0; 4][..], data].concat();
    [
        b"caff\0\x01\0\0".to_vec(),
        chunk(b"desc", &desc.concat()),
        chunk(b"data", &sound),
        chunk(b"free", &[0; 9]),
    ]
    .concat()
}

/// Bytes that no two keys share.
fn noise(bytes: usize, key: u64) -> Vec<u8> {
    (0..bytes as u64).map(|at| (mix(key, 8, at) & 0x7f) as u8).collect()
}

fn ogg(seconds: u32, key: u64) -> Vec<u8> {
    let page = |flags: u8, granule: u64, number: u32, packet: &[u8]| {
        let mut lengths = vec![255; packet.len() / 255];
        lengths.push((packet.len() % 255) as u8);
        let head = [
            b"OggS\0",
            &[flags][..],
            &granule.to_le_bytes(),
            &7_u32.to_le_bytes(),
            &number.to_le_bytes(),
            &[0; 4],
            &[lengths.len() as u8],
        ];
        [&head.concat(), &lengths, packet].concat()
    };
    let head =
        [b"OpusHead\x01\x01", &312_u16.to_le_bytes()[..], &SAMPLE_RATE.to_le_bytes(), &[0; 3]].concat();
    let mut file = [page(2, 0, 0, &head), page(0, 0, 1, b"OpusTags\0\0\0\0\0\0\0\0")].concat();
    for second in 1..=seconds {
        let flags = if second == seconds { 4 } else { 0 };
        file.extend(page(
            flags,
            u64::from(second) * 48_000 + 312,
            second + 1,
            &noise(700, key + u64::from(second)),
        ));
    }
    file
}

fn mp4(seconds: u32, key: u64) -> Vec<u8> {
    let chunk = |name: &[u8; 4], content: &[u8]| {
        [&narrow(content.len() + 8).to_be_bytes()[..], name, content].concat()
    };
    let mut movie = vec![0; 100];
    movie[12..16].copy_from_slice(&SAMPLE_RATE.to_be_bytes());
    movie[16..20].copy_from_slice(&(seconds * SAMPLE_RATE).to_be_bytes());
    let entry = [&1_u64.to_be_bytes()[..], &36_u32.to_be_bytes(), b"mp4a", &[0; 28]].concat();
    let table = chunk(b"stbl", &chunk(b"stsd", &entry));
    let track = chunk(b"trak", &chunk(b"mdia", &chunk(b"minf", &table)));
    let index = chunk(b"moov", &[chunk(b"mvhd", &movie), track].concat());
    [chunk(b"ftyp", b"M4A \0\0\0\0isom"), chunk(b"mdat", &noise(seconds as usize * 700, key)), index].concat()
}

/// Frames of 32 kbit/s at 32 kHz: 144 bytes for 36 ms. Whole frames, not less than the seconds.
fn mp3(seconds: u32, key: u64) -> Vec<u8> {
    let size = TAG_BYTES + 100_000;
    let safe = [21, 14, 7, 0].map(|shift| (size >> shift & 0x7f) as u8);
    let mut file = [b"ID3\x04\0\0", &safe[..], &vec![0; size]].concat();
    for frame in 0..(u64::from(seconds) * 1000).div_ceil(36) {
        file.extend([0xff, 0xfb, 0x18, 0xc4]);
        file.extend(noise(140, key + frame));
    }
    file
}

/// Frames of 1024 samples at 8 kHz: 128 ms.
fn adts(seconds: u32, key: u64) -> Vec<u8> {
    let mut file = Vec::new();
    for frame in 0..(u64::from(seconds) * 1000).div_ceil(128) {
        file.extend([0xff, 0xf1, 0x6c, 0x40, 100 >> 3, (100 & 7) << 5 | 0x1f, 0xfc]);
        file.extend(noise(93, key + frame));
    }
    file
}

/// Frames of 12.2 kbit/s: 32 bytes for 20 ms.
fn amr(seconds: u32, key: u64) -> Vec<u8> {
    let mut file = b"#!AMR\n".to_vec();
    for frame in 0..u64::from(seconds) * 50 {
        file.push(0x3c);
        file.extend(noise(31, key + frame));
    }
    file
}

fn flac(seconds: u32, key: u64) -> Vec<u8> {
    let samples = u64::from(seconds) * u64::from(SAMPLE_RATE);
    let packed = u64::from(SAMPLE_RATE) << 44 | 15 << 36 | samples;
    let info = [&[0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0][..], &packed.to_be_bytes(), &[0; 16]].concat();
    let tags = [&[0x84, 0, 0, 9][..], &[0; 9]].concat();
    [b"fLaC\0\0\0\x22".to_vec(), info, tags, noise(seconds as usize * 4000, key)].concat()
}
