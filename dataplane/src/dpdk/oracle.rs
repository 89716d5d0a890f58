//! DPDK's own tables behind safe calls: references for the tests and benchmarks of [`crate::table`].
//!
//! Invariants of this file, beside *started*:
//!
//! - *handle*: a pointer made by the library's `create` call, freed once, on drop, and reached by no
//!   other value. None of these types is `Sync` or `Send`, so one thread uses a table at a time.
//! - *as long*: the arrays that a call reads and writes have the number of elements that it is told.

use super::Eal;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

/// A call that the library refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{call} failed: error {code}")]
pub struct OracleError {
    /// The function.
    pub call: &'static str,
    /// What it returned, or `rte_errno`.
    pub code: i32,
}

fn checked(call: &'static str, code: c_int) -> Result<(), OracleError> {
    if code < 0 { Err(OracleError { call, code }) } else { Ok(()) }
}

fn created<T>(call: &'static str, table: *mut T) -> Result<NonNull<T>, OracleError> {
    // SAFETY: reads a thread-local variable of this thread.
    NonNull::new(table).ok_or_else(|| OracleError { call, code: unsafe { dpdk_sys::gw_errno() } })
}

fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

/// Any socket: DPDK's SOCKET_ID_ANY.
const ANY_SOCKET: c_int = -1;

/// Bytes that DPDK's heap of the first socket has given out.
pub fn heap_bytes(_: Eal) -> u64 {
    let mut stats = dpdk_sys::rte_malloc_socket_stats::default();
    // SAFETY: *started*; the library fills in the structure, which lives through the call.
    unsafe { dpdk_sys::rte_malloc_get_socket_stats(0, &raw mut stats) };
    stats.heap_allocsz_bytes as u64
}

/// How [`RteFib`] looks up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FibLookup {
    /// One address after the other.
    Scalar,
    /// AVX-512, 16 at a time; only with the EAL argument `--force-max-simd-bitwidth=512`.
    Vector,
}

/// DPDK's `rte_fib` of type DIR24_8 with next hops of 4 bytes (programmer's guide, "FIB library").
pub struct RteFib(NonNull<dpdk_sys::rte_fib>);

impl RteFib {
    /// A table for `routes` prefixes and `groups` tbl8 groups that answers 0 where it has none.
    pub fn new(
        _: Eal,
        name: &str,
        routes: u32,
        groups: u32,
        lookup: FibLookup,
    ) -> Result<Self, OracleError> {
        let mut config = dpdk_sys::rte_fib_conf {
            type_: dpdk_sys::RTE_FIB_DIR24_8,
            max_routes: c_int::try_from(routes).unwrap_or(c_int::MAX),
            ..Default::default()
        };
        config.__bindgen_anon_1.dir24_8.nh_sz = dpdk_sys::RTE_FIB_DIR24_8_4B;
        config.__bindgen_anon_1.dir24_8.num_tbl8 = groups;
        let name = c_name(name);
        // SAFETY: *started*; the name and the configuration live until the call returns.
        let fib = unsafe { dpdk_sys::rte_fib_create(name.as_ptr(), ANY_SOCKET, &mut config) };
        let fib = Self(created("rte_fib_create", fib)?);
        let kind = match lookup {
            FibLookup::Scalar => dpdk_sys::RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO,
            FibLookup::Vector => dpdk_sys::RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512,
        };
        // SAFETY: *handle*.
        let code = unsafe { dpdk_sys::rte_fib_select_lookup(fib.0.as_ptr(), kind) };
        checked("rte_fib_select_lookup", code).map(|()| fib)
    }

    /// Adds or replaces a prefix.
    pub fn add(&mut self, addr: u32, len: u8, next_hop: u32) -> Result<(), OracleError> {
        // SAFETY: *handle*.
        let code =
            unsafe { dpdk_sys::rte_fib_add(self.0.as_ptr(), addr, len, u64::from(next_hop)) };
        checked("rte_fib_add", code)
    }

    /// Takes a prefix out.
    pub fn delete(&mut self, addr: u32, len: u8) -> Result<(), OracleError> {
        // SAFETY: *handle*.
        let code = unsafe { dpdk_sys::rte_fib_delete(self.0.as_ptr(), addr, len) };
        checked("rte_fib_delete", code)
    }

    /// Next hops of as many addresses as the shorter slice holds; 0 where no prefix matches. The
    /// library's signature has no `const`, hence `&mut`; it doesn't write to the addresses.
    pub fn lookup_bulk(&self, addrs: &mut [u32], next_hops: &mut [u64]) {
        let count = addrs.len().min(next_hops.len());
        let count = c_int::try_from(count).unwrap_or(c_int::MAX);
        // SAFETY: *handle*; *as long*: `count` is no more than either slice holds.
        unsafe {
            let (addrs, next_hops) = (addrs.as_mut_ptr(), next_hops.as_mut_ptr());
            dpdk_sys::rte_fib_lookup_bulk(self.0.as_ptr(), addrs, next_hops, count);
        }
    }
}

impl Drop for RteFib {
    fn drop(&mut self) {
        // SAFETY: *handle*: created once, freed here once.
        unsafe { dpdk_sys::rte_fib_free(self.0.as_ptr()) };
    }
}

/// DPDK's `rte_lpm` (programmer's guide, "LPM library"). Knows no default route, and an add scans
/// every rule of the same length.
pub struct RteLpm(NonNull<dpdk_sys::rte_lpm>);

impl RteLpm {
    /// In an answer: a prefix matched (RTE_LPM_LOOKUP_SUCCESS).
    const FOUND: u32 = 1 << 24;

    /// A table for `rules` prefixes and `groups` tbl8 groups.
    pub fn new(_: Eal, name: &str, rules: u32, groups: u32) -> Result<Self, OracleError> {
        let config = dpdk_sys::rte_lpm_config { max_rules: rules, number_tbl8s: groups, flags: 0 };
        let name = c_name(name);
        // SAFETY: *started*; the name and the configuration live until the call returns.
        let lpm = unsafe { dpdk_sys::rte_lpm_create(name.as_ptr(), ANY_SOCKET, &config) };
        created("rte_lpm_create", lpm).map(Self)
    }

    /// Adds or replaces a prefix of 1 to 32 bits.
    pub fn add(&mut self, addr: u32, len: u8, next_hop: u32) -> Result<(), OracleError> {
        // SAFETY: *handle*.
        checked("rte_lpm_add", unsafe {
            dpdk_sys::rte_lpm_add(self.0.as_ptr(), addr, len, next_hop)
        })
    }

    /// Takes a prefix out.
    pub fn delete(&mut self, addr: u32, len: u8) -> Result<(), OracleError> {
        // SAFETY: *handle*.
        checked("rte_lpm_delete", unsafe { dpdk_sys::rte_lpm_delete(self.0.as_ptr(), addr, len) })
    }

    /// Next hops of as many addresses as the shorter slice holds; 0 where no prefix matches.
    pub fn lookup_bulk(&self, addrs: &[u32], next_hops: &mut [u32]) {
        let count = addrs.len().min(next_hops.len());
        let (addrs, next_hops) = (&addrs[..count], &mut next_hops[..count]);
        // SAFETY: *handle*; *as long*.
        unsafe {
            dpdk_sys::gw_lpm_lookup_bulk(
                self.0.as_ptr(),
                addrs.as_ptr(),
                next_hops.as_mut_ptr(),
                c_uint::try_from(count).unwrap_or(c_uint::MAX),
            );
        }
        for next_hop in next_hops {
            let is_found = *next_hop & Self::FOUND != 0;
            *next_hop = if is_found { *next_hop & (Self::FOUND - 1) } else { 0 };
        }
    }
}

impl Drop for RteLpm {
    fn drop(&mut self) {
        // SAFETY: *handle*: created once, freed here once.
        unsafe { dpdk_sys::rte_lpm_free(self.0.as_ptr()) };
    }
}

/// DPDK's `rte_hash` of 8-byte keys and data of a pointer's size (programmer's guide, "Hash library").
pub struct RteHash(NonNull<dpdk_sys::rte_hash>);

impl RteHash {
    /// Keys that [`RteHash::lookup_bulk`] takes at a time.
    pub const BULK: usize = dpdk_sys::RTE_HASH_LOOKUP_BULK_MAX as usize;

    /// A table for `entries` keys.
    pub fn new(_: Eal, name: &str, entries: u32) -> Result<Self, OracleError> {
        let name = c_name(name);
        let config = dpdk_sys::rte_hash_parameters {
            name: name.as_ptr(),
            entries,
            key_len: 8,
            socket_id: 0,
            ..Default::default()
        };
        // SAFETY: *started*; the name and the parameters live until the call returns.
        created("rte_hash_create", unsafe { dpdk_sys::rte_hash_create(&config) }).map(Self)
    }

    /// Adds or replaces an entry. The library carries the data as a pointer that it never follows.
    pub fn add(&mut self, key: u64, data: usize) -> Result<(), OracleError> {
        let data = ptr::without_provenance_mut::<c_void>(data);
        // SAFETY: *handle*; the key is the 8 bytes that the table was made for.
        checked("rte_hash_add_key_data", unsafe {
            dpdk_sys::rte_hash_add_key_data(self.0.as_ptr(), (&raw const key).cast(), data)
        })
    }

    /// Takes an entry out; false if there was none.
    pub fn delete(&mut self, key: u64) -> bool {
        // SAFETY: *handle*; the key is the 8 bytes that the table was made for.
        unsafe { dpdk_sys::rte_hash_del_key(self.0.as_ptr(), (&raw const key).cast()) >= 0 }
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        // SAFETY: *handle*.
        usize::try_from(unsafe { dpdk_sys::rte_hash_count(self.0.as_ptr()) }).unwrap_or(0)
    }

    /// Looks up to [`RteHash::BULK`] keys up; bit n of the answer says whether `data[n]` was found and written.
    pub fn lookup_bulk(&self, keys: &[u64], data: &mut [usize; Self::BULK]) -> u64 {
        let mut places = [ptr::null::<c_void>(); Self::BULK];
        let count = keys.len().min(Self::BULK);
        places.iter_mut().zip(keys).for_each(|(place, key)| *place = ptr::from_ref(key).cast());
        let mut hits = 0;
        // SAFETY: *handle*; *as long*: both arrays have BULK elements, of which `count` are read or written,
        // and each of those that are read points at a key of 8 bytes in `keys`. A number is as good a place for
        // the pointers, which nobody follows.
        unsafe {
            let count = u32::try_from(count).unwrap_or(0);
            let (places, found) = (places.as_mut_ptr(), data.as_mut_ptr().cast::<*mut c_void>());
            dpdk_sys::rte_hash_lookup_bulk_data(self.0.as_ptr(), places, count, &mut hits, found);
        }
        hits
    }
}

impl Drop for RteHash {
    fn drop(&mut self) {
        // SAFETY: *handle*: created once, freed here once.
        unsafe { dpdk_sys::rte_hash_free(self.0.as_ptr()) };
    }
}
