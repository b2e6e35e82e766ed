//! Samples as A-law, µ-law and GSM 6.10 write them.

/// One PCM sample as A-law (ITU-T G.711).
pub(super) fn a_law(sample: i16) -> u8 {
    let sign = if sample >= 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) >> 3;
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = 27 - (magnitude.leading_zeros() as i32);
        (segment << 4) | ((magnitude >> segment) & 0xf)
    };
    (u8::try_from(code & 0x7f).expect("seven bits fit a byte") | sign) ^ 0x55
}

/// One PCM sample as µ-law (ITU-T G.711).
pub(super) fn mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 0x84;
    let segment = 24 - (magnitude.leading_zeros() as i32);
    let code = (segment << 4) | ((magnitude >> (segment + 3)) & 0xf);
    !(u8::try_from(code & 0x7f).expect("seven bits fit a byte") | sign)
}

/// One 65-byte block of two GSM frames, packed as WAV files pack them (least significant bit first).
///
/// The filter is neutral and the gain low, so that the block plays as a quiet hiss made of `noise`.
pub(super) fn gsm_block(mut noise: impl FnMut() -> u64) -> [u8; 65] {
    let mut packer = Packer { bytes: [0; 65], at: 0 };
    for _ in 0..2 {
        for (value, bits) in [(32, 6), (32, 6), (20, 5), (11, 5), (8, 4), (5, 4), (3, 3), (2, 3)] {
            packer.put(value, bits);
        }
        for _ in 0..4 {
            let pulses = noise();
            // Lag, its gain, the grid, the block's amplitude.
            for (value, bits) in [(40, 7), (0, 2), (pulses >> 60 & 3, 2), (14, 6)] {
                packer.put(value, bits);
            }
            for pulse in 0..13 {
                packer.put(pulses >> (pulse * 3) & 7, 3);
            }
        }
    }
    packer.bytes
}

struct Packer {
    bytes: [u8; 65],
    at: usize,
}

impl Packer {
    fn put(&mut self, value: u64, bits: usize) {
        for bit in 0..bits {
            if value >> bit & 1 == 1 {
                self.bytes[self.at / 8] |= 1 << (self.at % 8);
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_code_the_known_points() {
        assert_eq!([a_law(0), a_law(-8), a_law(32_767), a_law(-32_768)], [0xd5, 0x55, 0xaa, 0x2a]);
        assert_eq!([mu_law(0), mu_law(-1), mu_law(32_767), mu_law(-32_768)], [0xff, 0x7f, 0x80, 0x00]);
    }

    #[test]
    fn a_gsm_block_is_filled_to_its_last_bit() {
        let block = gsm_block(|| u64::MAX);
        assert_eq!(block[64] >> 5, 7, "{block:02x?}");
    }
}
