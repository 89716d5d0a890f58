//! The heads of a burst of mbufs, read together: what a packet costs most, once its look-ups are
//! cheap, is the finding of its bytes.

use super::Mbuf;
use crate::frame::{Burst, Heads, Pattern, Slots, read_each_head};

/// As [`read_each_head`]: all at once where all are plain, which is nearly always.
#[inline]
pub(super) fn read(burst: &Burst<Mbuf>, pattern: &Pattern, into: &mut Heads) -> Slots {
    #[cfg(target_arch = "x86_64")]
    if crate::machine::has_avx512() && burst.is_full() {
        // SAFETY: what it is compiled for has just been found.
        let is_plain = unsafe {
            match pattern.has_ports() {
                true => wide::read::<true>(burst, pattern, into),
                false => wide::read::<false>(burst, pattern, into),
            }
        };
        if is_plain {
            return Slots::MAX;
        }
    }
    read_each_head(burst, pattern, into)
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::super::{BUFFER_BYTES_MIN, Mbuf, NOT_PLAIN};
    use crate::frame::{BURST_PKTS, Burst, Heads, PLAIN_BYTES, Pattern};
    use dpdk_sys::rte_mbuf;
    use std::arch::x86_64::*;
    use std::mem::offset_of;

    /// Reads the heads of a full burst; false where one is not plain or does not fit.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn read<const PORTS: bool>(
        burst: &Burst<Mbuf>,
        pattern: &Pattern,
        into: &mut Heads,
    ) -> bool {
        let words = |[low, high]: [u64; 2]| _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        let (want, mask) = pattern.bits();
        let start = pattern.start().min(14);
        let (want, mask) = (words(want), words(mask));
        // One segment, and no flag that is not plain; any `data_off`, `refcnt` and `port`.
        let mbuf_want = words([1 << 32, 0]);
        let mbuf_mask = words([0xffff << 32, NOT_PLAIN]);
        let mut odd = _mm_setzero_si128();
        for (slot, frame) in burst.iter().enumerate().take(BURST_PKTS) {
            let raw = frame.as_ptr().cast_const();
            // SAFETY: *owned*, *layout*: the fields from `data_off` to `ol_flags` are these 16 bytes of
            // the mbuf, and of a buffer the bytes up to `BUFFER_BYTES_MIN` can be read, whatever is in them.
            unsafe {
                let (len, offset) = ((*raw).pkt_len, usize::from((*raw).data_off));
                if (len as usize) < PLAIN_BYTES || offset + PLAIN_BYTES > BUFFER_BYTES_MIN {
                    return false;
                }
                let fields = raw.byte_add(offset_of!(rte_mbuf, rearm_data)).cast();
                // (a ^ want) & mask
                let differs =
                    _mm_ternarylogic_epi64::<0x28>(_mm_loadu_si128(fields), mbuf_want, mbuf_mask);
                odd = _mm_or_si128(odd, differs);
                let head = (*raw).buf_addr.cast::<u8>().add(offset);
                let differs =
                    _mm_ternarylogic_epi64::<0x28>(_mm_loadu_si128(head.cast()), want, mask);
                odd = _mm_or_si128(odd, differs);
                if pattern.is_open() && head.add(4).cast::<u64>().read_unaligned() >> 16 == 0 {
                    return false;
                }
                into.start[slot] = head.add(start).cast::<u64>().read_unaligned();
                into.middle[slot] = head.add(22).cast::<u32>().read_unaligned();
                into.ends[slot] = head.add(26).cast::<u64>().read_unaligned();
                into.bytes[slot] = len;
                if PORTS {
                    into.ports[slot] = head.add(34).cast::<u32>().read_unaligned();
                }
            }
        }
        _mm_test_epi64_mask(odd, odd) == 0
    }
}
