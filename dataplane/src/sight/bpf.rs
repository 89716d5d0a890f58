//! Classic BPF: the filters of tcpdump and Wireshark, compiled elsewhere (libpcap), checked and run here.
//!
//! S. McCanne and V. Jacobson, "The BSD Packet Filter", USENIX 1993; instruction set as in bpf(4) and Linux's
//! Documentation/networking/filter.rst. Jumps lead forward only, so a program of n instructions ends after n
//! steps at most; it reads the packet and its own sixteen words and nothing else.

/// Longest program (the kernel's BPF_MAXINSNS).
pub const INSTRUCTIONS_MAX: usize = 4096;
/// Words of scratch memory (BPF_MEMWORDS).
const MEMORY_WORDS: usize = 16;

/// One instruction, as `tcpdump -ddd` prints it: code, jump if true, jump if false, constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip where a comparison is true.
    pub if_true: u8,
    /// Where it is false.
    pub if_false: u8,
    /// Constant, offset, distance or word.
    pub k: u32,
}

/// A program that is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadProgram {
    /// No instruction, or too many.
    #[error("{0} instructions: want 1 to {INSTRUCTIONS_MAX}")]
    Length(usize),
    /// An instruction that does not exist, or divides by zero, or names a word that does not.
    #[error("instruction {at}: code {code:#06x} with constant {k} is none")]
    Unknown {
        /// Its position.
        at: usize,
        /// Its code.
        code: u16,
        /// Its constant.
        k: u32,
    },
    /// A jump past the end.
    #[error("instruction {0}: jumps past the end")]
    Jump(usize),
    /// The last instruction does not return.
    #[error("the last instruction does not return")]
    NoReturn,
}

/// A program that has been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program(Box<[Instruction]>);

// Classes, sizes, modes, operations and sources: bits of a code.
const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;
const MISC: u16 = 7;
const HALF: u16 = 0x08;
const BYTE: u16 = 0x10;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;
const X: u16 = 0x08;
const RET_A: u16 = RET | 0x10;
const TAX: u16 = MISC;
const TXA: u16 = MISC | 0x80;

impl Program {
    /// Checks a program.
    ///
    /// # Errors
    /// See [`BadProgram`].
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, BadProgram> {
        let count = instructions.len();
        if !(1..=INSTRUCTIONS_MAX).contains(&count) {
            return Err(BadProgram::Length(count));
        }
        for (at, one) in instructions.iter().enumerate() {
            if !is_known(one) {
                return Err(BadProgram::Unknown { at, code: one.code, k: one.k });
            }
            if farthest(one).is_some_and(|skipped| skipped >= count - at - 1) {
                return Err(BadProgram::Jump(at));
            }
        }
        match instructions.last() {
            Some(last) if last.code & 7 == RET => Ok(Self(instructions.into())),
            _ => Err(BadProgram::NoReturn),
        }
    }

    /// Whether a frame passes: `bytes` are those at hand from its first on, `wire_bytes` its length. What
    /// reads beyond them does not pass.
    pub fn admits(&self, bytes: &[u8], wire_bytes: u32) -> bool {
        self.run(bytes, wire_bytes).is_some_and(|snapped| snapped > 0)
    }

    fn run(&self, bytes: &[u8], wire_bytes: u32) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY_WORDS];
        let mut at = 0;
        // It ends: each step goes forward, and the last instruction returns.
        loop {
            let Instruction { code, if_true, if_false, k } = *self.0.get(at)?;
            at += 1;
            let index = k as usize % MEMORY_WORDS;
            match code & 7 {
                LD => {
                    a = match code & 0xe0 {
                        ABS => load(bytes, k, code)?,
                        IND => load(bytes, x.checked_add(k)?, code)?,
                        MEM => memory[index],
                        LEN => wire_bytes,
                        _ => k,
                    }
                }
                LDX => {
                    x = match code & 0xe0 {
                        // Four times the low half of a byte: the length of an IPv4 header.
                        MSH => (load(bytes, k, BYTE)? & 0xf) * 4,
                        MEM => memory[index],
                        LEN => wire_bytes,
                        _ => k,
                    }
                }
                ST => memory[index] = a,
                STX => memory[index] = x,
                ALU => a = compute(code, a, if code & X != 0 { x } else { k })?,
                JMP => {
                    let other = if code & X != 0 { x } else { k };
                    at += match code & 0xf0 {
                        0x00 => k as usize,
                        0x10 => skip(a == other, if_true, if_false),
                        0x20 => skip(a > other, if_true, if_false),
                        0x30 => skip(a >= other, if_true, if_false),
                        _ => skip(a & other != 0, if_true, if_false),
                    }
                }
                RET => return Some(if code == RET_A { a } else { k }),
                _ if code == TXA => a = x,
                _ => x = a,
            }
        }
    }
}

fn skip(is_true: bool, if_true: u8, if_false: u8) -> usize {
    usize::from(if is_true { if_true } else { if_false })
}

/// The number at an offset, of the size that the code says, in network byte order.
fn load(bytes: &[u8], offset: u32, code: u16) -> Option<u32> {
    let rest = bytes.get(offset as usize..)?;
    Some(match code & 0x18 {
        BYTE => u32::from(*rest.first()?),
        HALF => u32::from(u16::from_be_bytes(*rest.first_chunk()?)),
        _ => u32::from_be_bytes(*rest.first_chunk()?),
    })
}

/// `None`: divided by zero, which ends the program as if it had returned 0.
fn compute(code: u16, a: u32, b: u32) -> Option<u32> {
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a.checked_div(b)?,
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.checked_shl(b).unwrap_or(0),
        0x70 => a.checked_shr(b).unwrap_or(0),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(b)?,
        _ => a ^ b,
    })
}

fn is_known(one: &Instruction) -> bool {
    let Instruction { code, k, .. } = *one;
    let is_word = (k as usize) < MEMORY_WORDS;
    match code & 7 {
        LD => match code & 0xe0 {
            ABS | IND => matches!(code & !0xe0, 0 | HALF | BYTE),
            MEM => code == LD | MEM && is_word,
            _ => matches!(code, IMM | LEN),
        },
        LDX => match code & 0xe0 {
            MSH => code == LDX | MSH | BYTE,
            MEM => code == LDX | MEM && is_word,
            _ => code == LDX | IMM || code == LDX | LEN,
        },
        ST | STX => matches!(code, ST | STX) && is_word,
        ALU => match code & !X {
            0x34 | 0x94 => code & X != 0 || k != 0,
            0x64 | 0x74 => code & X != 0 || k < 32,
            0x84 => code & X == 0,
            other => matches!(other, 0x04 | 0x14 | 0x24 | 0x44 | 0x54 | 0xa4),
        },
        JMP => code == JMP || matches!(code & !X, 0x15 | 0x25 | 0x35 | 0x45),
        RET => matches!(code, RET | RET_A),
        _ => matches!(code, TAX | TXA),
    }
}

/// The most instructions that one may skip; none where it does not jump.
fn farthest(one: &Instruction) -> Option<usize> {
    match (one.code & 7, one.code) {
        (JMP, JMP) => Some(one.k as usize),
        (JMP, _) => Some(one.if_true.max(one.if_false).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn program(text: &str) -> Result<Program, BadProgram> {
        let line = |line: &str| {
            let words: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            let byte = |n: u32| u8::try_from(n).unwrap();
            let code = u16::try_from(words[0]).unwrap();
            Instruction { code, if_true: byte(words[1]), if_false: byte(words[2]), k: words[3] }
        };
        Program::new(text.lines().map(str::trim).map(line).collect())
    }

    /// `tcpdump -ddd icmp`.
    const ICMP: &str = "40 0 0 12\n21 0 3 2048\n48 0 0 23\n21 0 1 1\n6 0 0 262144\n6 0 0 0";

    #[test]
    fn a_compiled_filter_tells_packets_apart() {
        let icmp = program(ICMP).unwrap();
        let mut frame = [0u8; 60];
        frame[12] = 8;
        frame[23] = 1;
        assert!(icmp.admits(&frame, 60));
        assert!(!icmp.admits(&frame[..20], 60), "cut short before the protocol");
        frame[23] = 17;
        assert!(!icmp.admits(&frame, 60));
    }

    #[test]
    fn the_length_is_the_wires() {
        // `len >= 1000`.
        let long = program("128 0 0 0\n53 0 1 1000\n6 0 0 1\n6 0 0 0").unwrap();
        assert!(long.admits(&[0; 60], 1000) && !long.admits(&[0; 60], 999));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(Program::new(vec![]), Err(BadProgram::Length(0)));
        assert_eq!(program("6 0 0 0\n0 0 0 1"), Err(BadProgram::NoReturn));
        assert_eq!(program("5 0 0 1\n6 0 0 0"), Err(BadProgram::Jump(0)));
        assert_eq!(program("21 0 1 1\n6 0 0 0"), Err(BadProgram::Jump(0)));
        let unknown = |code, k| Err(BadProgram::Unknown { at: 0, code, k });
        assert_eq!(program("52 0 0 0\n6 0 0 0"), unknown(52, 0), "divided by nothing");
        assert_eq!(program("96 0 0 16\n6 0 0 0"), unknown(96, 16), "no such word");
        assert_eq!(program("255 0 0 0\n6 0 0 0"), unknown(255, 0));
    }

    proptest! {
        #[test]
        fn any_program_that_passes_the_check_comes_to_an_end(
            code in prop::collection::vec((any::<u16>(), 0u8..4, 0u8..4, 0u32..80), 1..40),
            frame in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let known = code.into_iter().map(|(code, if_true, if_false, k)| {
                Instruction { code: code & 0xff, if_true, if_false, k }
            });
            let known = known.filter(is_known);
            let end = Instruction { code: RET_A, if_true: 0, if_false: 0, k: 0 };
            if let Ok(program) = Program::new(known.chain([end; 80]).collect()) {
                program.admits(&frame, 100);
            }
        }
    }
}
