//! The heads of a burst of mbufs, read together: what a packet costs most, once its look-ups are
//! cheap, is the finding of its bytes.

use super::{BUFFER_BYTES_MIN, Mbuf};
use crate::frame::{
    BURST_PKTS, Burst, Heads, PLAIN_BYTES, Pattern, REWRITTEN_BYTES, Slots, first_slots,
    read_each_head, write_each_head,
};

/// A plain frame's `data_off` is below this. Larger ones are rare and left to the stages.
pub(super) const OFFSET_LIMIT: u16 = 1024;
const _: () = assert!(OFFSET_LIMIT as usize + PLAIN_BYTES <= BUFFER_BYTES_MIN);
const _: () = assert!(REWRITTEN_BYTES <= PLAIN_BYTES);

/// As [`write_each_head`].
#[inline]
pub(super) fn rewrite(
    burst: &mut Burst<Mbuf>,
    ethernet: impl Fn(usize) -> [u64; 2],
    middle: &[u32; BURST_PKTS],
) {
    #[cfg(target_arch = "x86_64")]
    if crate::machine::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::rewrite(burst, ethernet, middle) };
    }
    write_each_head(burst, ethernet, middle);
}

/// As [`read_each_head`]: all at once where all are plain, which is nearly always.
#[inline]
pub(super) fn read(burst: &Burst<Mbuf>, pattern: &Pattern, into: &mut Heads) -> Slots {
    #[cfg(target_arch = "x86_64")]
    if crate::machine::is_for_vectors(burst.len()) {
        // SAFETY: what it is compiled for has just been found.
        let is_plain = unsafe {
            match pattern.is_bridged() {
                true => wide::read::<true>(burst, pattern, into),
                false => wide::read::<false>(burst, pattern, into),
            }
        };
        if is_plain {
            return first_slots(burst.len());
        }
    }
    read_each_head(burst, pattern, into)
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::super::{Mbuf, NOT_PLAIN};
    use super::OFFSET_LIMIT;
    use crate::frame::{
        BURST_PKTS, Burst, Heads, PLAIN_BYTES, Pattern, WORD_DESTINATION, WORD_FRAGMENT,
        WORD_LENGTH, WORD_SOURCE, WORD_TTL,
    };
    use crate::machine::avx512::{store_u32, store_u64};
    use crate::machine::quads::Quads;
    use crate::wire::ethernet::HEADER_BYTES;
    use dpdk_sys::rte_mbuf;
    use std::arch::x86_64::*;
    use std::mem::offset_of;

    /// Frames read together: words of 32 bits in a vector.
    const GROUP: usize = 16;
    const GROUPS: usize = BURST_PKTS / GROUP;
    const SHORTEST: i32 = 38;
    const _: () = assert!(SHORTEST as usize == PLAIN_BYTES);
    /// Where the third word of the IPv4 header begins: it and the rest of a plain head are 16 bytes.
    const TAIL_AT: usize = HEADER_BYTES + 4 * WORD_TTL;
    const _: () = assert!(TAIL_AT + 16 == PLAIN_BYTES);
    /// The part of an mbuf that a receiving driver writes: `data_off`, `refcnt`, `nb_segs`, `port`, `ol_flags`.
    const FIELDS_AT: usize = offset_of!(rte_mbuf, rearm_data);
    /// `pkt_len` is the second word of what follows.
    const LENGTHS_AT: usize = FIELDS_AT + 16;
    const _: () = assert!(LENGTHS_AT + 4 == offset_of!(rte_mbuf, pkt_len));

    /// Two stores a frame instead of four.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn rewrite(
        burst: &mut Burst<Mbuf>,
        ethernet: impl Fn(usize) -> [u64; 2],
        middle: &[u32; BURST_PKTS],
    ) {
        // Six bytes of either word; what is behind them in the frame stays.
        let order = _mm_set_epi8(-1, -1, -1, -1, 13, 12, 11, 10, 9, 8, 5, 4, 3, 2, 1, 0);
        let one = |slot: usize, frame: &mut Mbuf| {
            let raw = frame.as_ptr();
            let [to, from] = ethernet(slot);
            let macs = _mm_set_epi64x(from.cast_signed(), to.cast_signed());
            // SAFETY: *owned*: an offset below the limit leaves these bytes inside the buffer, which is ours
            // alone. A plain frame's is below it, so nothing is cut off.
            unsafe {
                let offset = (*raw).data_off % OFFSET_LIMIT;
                let head = (*raw).buf_addr.cast::<u8>().add(offset.into());
                let rest = _mm_loadu_si128(head.cast());
                // 6 words of 16 bits from the one, 2 from the other.
                let start = _mm_blend_epi16::<0xc0>(_mm_shuffle_epi8(macs, order), rest);
                _mm_storeu_si128(head.cast(), start);
                head.add(TAIL_AT).cast::<u32>().write_unaligned(middle[slot % BURST_PKTS]);
            }
        };
        // Four at a time: the loop itself would be a quarter of the work.
        let (groups, rest) = burst.as_chunks_mut::<4>();
        let first = 4 * groups.len();
        for (group, frames) in groups.iter_mut().enumerate() {
            for (slot, frame) in frames.iter_mut().enumerate() {
                one(4 * group + slot, frame);
            }
        }
        for (slot, frame) in rest.iter_mut().enumerate() {
            one(first + slot, frame);
        }
    }

    /// Reads the heads of a burst of at least one frame; false where one is not plain or does not fit.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn read<const BRIDGED: bool>(
        burst: &Burst<Mbuf>,
        pattern: &Pattern,
        into: &mut Heads,
    ) -> bool {
        let (groups, rest) = burst.as_chunks::<GROUP>();
        let are_plain = groups
            .iter()
            .enumerate()
            .all(|(at, group)| read_group::<BRIDGED>(|frame| &group[frame], at, pattern, into));
        let last = rest.len().wrapping_sub(1);
        // The last frame stands for those that are not there.
        are_plain
            && (rest.is_empty()
                || read_group::<BRIDGED>(
                    |frame| &rest[last.min(frame)],
                    groups.len(),
                    pattern,
                    into,
                ))
    }

    /// Sixteen of them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn read_group<'a, const BRIDGED: bool>(
        frame: impl Fn(usize) -> &'a Mbuf,
        at: usize,
        pattern: &Pattern,
        into: &mut Heads,
    ) -> bool {
        let at = at % GROUPS;
        let mut fields = _mm_setzero_si128();
        let (mut starts, mut firsts, mut tails) = (Quads::zero(), Quads::zero(), Quads::zero());
        for quad in 0..4 {
            let (a, b) = (Row::read(frame(quad)), Row::read(frame(quad + 4)));
            let (c, d) = (Row::read(frame(quad + 8)), Row::read(frame(quad + 12)));
            fields = _mm_or_si128(fields, _mm_or_si128(a.fields, b.fields));
            fields = _mm_or_si128(fields, _mm_or_si128(c.fields, d.fields));
            firsts.set(quad, a.first, b.first, c.first, d.first);
            starts.set(quad, a.start, b.start, c.start, d.start);
            tails.set(quad, a.tail, b.tail, c.tail, d.tail);
        }
        let [length, fragment, _, bytes] = firsts.columns();
        let [ttl, source, destination, ports] = tails.columns();
        let store = |column: &mut [u32; BURST_PKTS], vector| {
            store_u32(&mut column.as_chunks_mut().0[at], vector);
        };
        store(&mut into.bytes, bytes);
        store(&mut into.words[WORD_LENGTH], length);
        store(&mut into.words[WORD_FRAGMENT], fragment);
        store(&mut into.words[WORD_TTL], ttl);
        store(&mut into.words[WORD_SOURCE], source);
        store(&mut into.words[WORD_DESTINATION], destination);
        store(&mut into.ports, ports);
        if BRIDGED {
            let [first, second] = starts.first_words();
            let to = into.to.as_chunks_mut().0;
            store_u64(&mut to[2 * at], first);
            store_u64(&mut to[2 * at + 1], second);
        }
        // Of all together: one segment, `data_off` below the limit, no flag that is not plain.
        let odd = _mm_set_epi64x(
            NOT_PLAIN.cast_signed(),
            i64::from(!1u16) << 32 | i64::from(!(OFFSET_LIMIT - 1)),
        );
        let (want, mask) = pattern.bits();
        // One answer for all: a way out in between would keep what is read apart until it is passed.
        _mm_test_epi64_mask(fields, odd) == 0
            && !starts.differ(want, mask)
            && !(pattern.is_open() && starts.has_no_source())
            && _mm512_cmplt_epu32_mask(bytes, _mm512_set1_epi32(SHORTEST)) == 0
    }

    /// What is read of a frame and of its mbuf, 16 bytes each.
    struct Row {
        /// From `data_off` to `ol_flags`.
        fields: __m128i,
        /// Both MACs, EtherType, version.
        start: __m128i,
        /// The first two words of the IPv4 header, then two of the mbuf of which the second is `pkt_len`.
        first: __m128i,
        /// The header's last three words, and the ports.
        tail: __m128i,
    }

    impl Row {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn read(frame: &Mbuf) -> Self {
            let mbuf = frame.as_ptr().cast_const();
            // SAFETY: *owned*, *layout*: these bytes lie in the mbuf and, since an offset below the limit leaves
            // those of a plain head inside, in its buffer, whatever is in them.
            unsafe {
                // Volatile, else it is picked out of the vector beside it, which costs more.
                let offset = (&raw const (*mbuf).data_off).read_volatile() % OFFSET_LIMIT;
                let head = (*mbuf).buf_addr.cast::<u8>().cast_const().add(offset.into());
                Self {
                    fields: _mm_loadu_si128(mbuf.byte_add(FIELDS_AT).cast()),
                    start: _mm_loadu_si128(head.cast()),
                    first: _mm_castpd_si128(_mm_loadh_pd(
                        _mm_load_sd(head.add(HEADER_BYTES).cast()),
                        mbuf.byte_add(LENGTHS_AT).cast(),
                    )),
                    tail: _mm_loadu_si128(head.add(TAIL_AT).cast()),
                }
            }
        }
    }
}
