//! Large pages for large tables: a look-up in small ones is mostly a walk of the page table.

/// Bytes of a large page on the processors that matter; where it is another size the advice is as good.
const HUGE_BYTES: usize = 2 << 20;

/// Asks the kernel to back a block by large pages where it is touched (transparent huge pages, madvise(2)).
/// Blocks smaller than a few of them are left alone, and where the kernel can't nothing happens.
pub(crate) fn advise_huge<T>(block: &[T]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let start = block.as_ptr().addr().next_multiple_of(HUGE_BYTES);
        let end = block.as_ptr_range().end.addr() / HUGE_BYTES * HUGE_BYTES;
        if end.saturating_sub(start) < 2 * HUGE_BYTES {
            return;
        }
        let place = block.as_ptr().with_addr(start).cast_mut().cast();
        // SAFETY: whole pages inside a live block; the advice changes nothing that a program can see but
        // time. Refused, it is no error.
        unsafe { libc::madvise(place, end - start, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    {
        let _ = block;
    }
}
