//! Mutations that know a little of what they change, so that most get past the first check.

use std::ops::Range;

/// How an input is taken apart, and what is made right again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Words, numbers, strings and marks: TOML and JSON.
    Text,
    /// Opcodes with their arguments.
    Pickle,
    /// Fields of two, four or eight bytes: zip directories, lengths of storages.
    Binary,
    /// The same, with the checksums of PNG.
    Image,
    /// Tar, with the checksums of its headers.
    Tar,
    /// A header in JSON after its length, then numbers.
    Safetensors,
}

/// A small deterministic generator (Knuth's MMIX constants), so that a failure can be repeated.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Changes inputs of one grammar.
pub struct Mutator {
    grammar: Grammar,
    random: Random,
    /// Pieces of every input.
    pieces: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new<'a>(grammar: Grammar, inputs: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut pieces: Vec<_> = inputs
            .flat_map(|bytes| {
                let pieces = grammar.pieces(bytes);
                pieces.into_iter().map(|piece| bytes[piece].to_vec())
            })
            .filter(|piece| piece.len() <= 4096)
            .collect();
        pieces.sort_unstable();
        pieces.dedup();
        Self {
            grammar,
            random: Random(20_261_121),
            pieces,
        }
    }

    /// The input with up to six changes.
    pub fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.random.below(6) {
            if self.random.below(3) == 0 {
                self.change_bytes(&mut bytes);
            } else {
                self.change_pieces(&mut bytes);
            }
        }
        self.grammar.mend(&mut bytes);
        bytes
    }

    fn change_bytes(&mut self, bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        if bytes.is_empty() {
            return bytes.push(random.below(256) as u8);
        }
        // Headers and directories are where the dangerous numbers are.
        let at = match random.below(3) {
            0 => random.below(bytes.len()),
            1 => random.below(bytes.len().min(64)),
            _ => bytes.len() - 1 - random.below(bytes.len().min(256)),
        };
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.below(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 if random.below(4) == 0 => bytes.truncate(at),
            _ => {
                let width = [1, 2, 4, 8][random.below(4)];
                let length = bytes.len() as u64;
                let number: u64 = match random.below(8) {
                    0 => 0,
                    1 => 1,
                    2 => u64::MAX,
                    3 => 1 << 63,
                    4 => 0x7fff_ffff_7fff_7f7f,
                    5 => length.wrapping_sub(random.below(40) as u64),
                    6 => random.below(bytes.len()) as u64,
                    _ => 1 << random.below(64),
                };
                let mut number = number.to_le_bytes()[..width].to_vec();
                if random.below(4) == 0 {
                    number.reverse();
                }
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
        }
    }

    fn change_pieces(&mut self, bytes: &mut Vec<u8>) {
        let places = self.grammar.pieces(bytes);
        if places.is_empty() {
            return self.change_bytes(bytes);
        }
        let random = &mut self.random;
        let place = places[random.below(places.len())].clone();
        let other = places[random.below(places.len())].clone();
        let known = self.pieces.get(random.below(self.pieces.len()));
        match random.below(7) {
            0 => drop(bytes.drain(place)),
            1 => {
                let copy = bytes[other].to_vec();
                bytes.splice(place, copy);
            }
            2 => {
                let copy = bytes[other].to_vec();
                bytes.splice(place.start..place.start, copy);
            }
            3 => drop(bytes.splice(place, known.cloned().unwrap_or_default())),
            4 => {
                let known = known.cloned().unwrap_or_default();
                bytes.splice(place.start..place.start, known);
            }
            5 => {
                // A run of pieces again and again.
                let (start, end) = (place.start.min(other.start), place.end.max(other.end));
                let run = &bytes[start..end];
                let times = [1, 2, 100][random.below(3)].min(20_000 / run.len().max(1) + 1);
                let copies = run.repeat(times);
                bytes.splice(end..end, copies);
            }
            _ => {
                let number = self.number();
                self.replace_number(bytes, place, &number);
            }
        }
    }

    /// A number that limits and products are likely to be wrong about.
    fn number(&mut self) -> String {
        let random = &mut self.random;
        match random.below(4) {
            0 => (1u128 << random.below(66)).to_string(),
            1 => ((1u128 << random.below(66)) - 1).to_string(),
            2 => random.below(20).to_string(),
            _ => random
                .of(&[
                    "-1",
                    "0",
                    "1e308",
                    "-0.0",
                    "1e-320",
                    "1e999",
                    "nan",
                    "inf",
                    "null",
                    "99999999999999999999999999",
                    "-9223372036854775808",
                    "0.1",
                    "[]",
                    "{}",
                    "\"\"",
                ])
                .to_owned(),
        }
    }

    fn replace_number(&mut self, bytes: &mut Vec<u8>, place: Range<usize>, number: &str) {
        match self.grammar {
            Grammar::Text | Grammar::Safetensors => {
                bytes.splice(place, number.bytes());
            }
            Grammar::Pickle => {
                // As INT has it, and as BININT and LONG1 have it.
                let parsed: i128 = number.parse().unwrap_or_default();
                let piece = match self.random.below(3) {
                    0 => format!("I{number}\n").into_bytes(),
                    1 => [&b"J"[..], &(parsed as i32).to_le_bytes()].concat(),
                    _ => [&b"\x8a\x08"[..], &(parsed as i64).to_le_bytes()].concat(),
                };
                bytes.splice(place, piece);
            }
            Grammar::Tar => {
                // The size of a member: octal, or base 256.
                let header = place.start / 512 * 512;
                if let Some(field) = bytes.get_mut(header + 124..header + 136) {
                    let parsed: u64 = number.parse().unwrap_or(u64::MAX);
                    if self.random.below(2) == 0 {
                        field.copy_from_slice(
                            format!("{:011o}\0", parsed & 0x1_ffff_ffff).as_bytes(),
                        );
                    } else {
                        field.fill(0);
                        field[0] = 0x80;
                        field[4..].copy_from_slice(&parsed.to_be_bytes());
                    }
                }
            }
            Grammar::Binary | Grammar::Image => self.change_bytes(bytes),
        }
    }
}

impl Grammar {
    /// Where an input's pieces are.
    fn pieces(self, bytes: &[u8]) -> Vec<Range<usize>> {
        let header = match self {
            Self::Safetensors => header_end(bytes),
            _ => 0,
        };
        let length = |at: usize| match self {
            Self::Text => word(&bytes[at..]),
            Self::Pickle => opcode(&bytes[at..]),
            Self::Binary | Self::Image => 4,
            Self::Tar => 512,
            Self::Safetensors => match at {
                0 => 8,
                _ if at < header => word(&bytes[at..header]),
                _ => 64,
            },
        };
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + length(at).max(1)).min(bytes.len());
            pieces.push(at..end);
            at = end;
        }
        pieces
    }

    /// Makes right what would end the reading at once.
    fn mend(self, bytes: &mut [u8]) {
        match self {
            Self::Image => mend_png(bytes),
            Self::Tar => mend_tar(bytes),
            Self::Safetensors => {
                let end = header_end(bytes);
                if end > 8 {
                    bytes[..8].copy_from_slice(&(end as u64 - 8).to_le_bytes());
                }
            }
            Self::Text | Self::Pickle | Self::Binary => {}
        }
    }
}

/// Length of the first word, number, string or mark.
fn word(bytes: &[u8]) -> usize {
    let same = |is: fn(&u8) -> bool| bytes.iter().take_while(|byte| is(byte)).count();
    match bytes[0] {
        b'"' => match bytes[1..].iter().position(|&byte| byte == b'"') {
            Some(end) => end + 2,
            None => 1,
        },
        byte if byte.is_ascii_whitespace() => same(u8::is_ascii_whitespace),
        byte if byte.is_ascii_punctuation() => 1,
        _ => same(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')),
    }
}

/// Length of the first opcode and its arguments, by `Lib/pickletools.py`.
fn opcode(bytes: &[u8]) -> usize {
    let line = |from: usize| {
        let end = bytes.iter().skip(from).position(|&byte| byte == b'\n');
        end.map_or(bytes.len(), |end| from + end + 1)
    };
    let counted = |width: usize| {
        let count = bytes.iter().skip(1).take(width).rev();
        let count = count.fold(0usize, |n, &byte| n << 8 | usize::from(byte));
        (1 + width).saturating_add(count)
    };
    let length = match bytes[0] {
        b'c' | b'i' => line(line(1)),
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => line(1),
        b'K' | b'h' | b'q' | 0x80 | 0x82 => 2,
        b'M' | 0x83 => 3,
        b'J' | b'j' | b'r' | 0x84 => 5,
        b'G' | 0x95 => 9,
        b'U' | b'C' | 0x8a | 0x8c => counted(1),
        b'T' | b'X' | b'B' | 0x8b => counted(4),
        0x8d | 0x8e | 0x96 => counted(8),
        _ => 1,
    };
    length.min(bytes.len())
}

/// Where the header of a safetensors file ends: at the last brace before the numbers.
fn header_end(bytes: &[u8]) -> usize {
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate().skip(8) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len().min(8)
}

/// PNG rejects most damage by its checksums, so mend them: the damage then reaches the decoder.
pub fn mend_png(bytes: &mut [u8]) {
    if !bytes.starts_with(b"\x89PNG") {
        return;
    }
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some(body) = bytes.get(at + 4..(at + 8).saturating_add(length)) else {
            return;
        };
        let mut crc = u32::MAX;
        for &byte in body {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        at += 8 + length;
        if let Some(stored) = bytes.get_mut(at..at + 4) {
            stored.copy_from_slice(&(!crc).to_be_bytes());
        }
        at += 4;
    }
}

/// The sum of a header's bytes, its own field taken for spaces.
fn mend_tar(bytes: &mut [u8]) {
    for header in bytes.chunks_exact_mut(512) {
        if !header[257..].starts_with(b"ustar") {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
