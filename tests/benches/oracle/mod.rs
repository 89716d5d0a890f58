//! What the benchmarks of single tables share: DPDK, orders of look-ups, the clock.

use dataplane::dpdk::{Eal, EalOptions};
use std::error::Error;
use std::sync::OnceLock;
use std::time::Instant;
use tests::frames::Random;

/// Look-ups of one call: a burst.
pub(crate) const BULK: usize = 32;
/// Megabytes that DPDK's tables may take.
const MEMORY_MB: &str = "1400";

/// DPDK starts once per process. On hugepages where they are reserved (`tests/bench` does).
pub(crate) fn eal() -> Result<Eal, Box<dyn Error>> {
    static EAL: OnceLock<Eal> = OnceLock::new();
    if let Some(eal) = EAL.get() {
        return Ok(*eal);
    }
    let prefix = format!("gw-bench-{}", std::process::id());
    let memory =
        if std::env::var_os("GUESTWAY_BENCH_HUGE").is_some() { "--in-memory" } else { "--no-huge" };
    let own = [memory, "--no-pci", "--no-shconf", "-m", MEMORY_MB, "--file-prefix", &prefix];
    let simd = has_vector().then_some("--force-max-simd-bitwidth=512");
    let extra = own.into_iter().chain(simd).map(str::to_owned).collect();
    let eal = Eal::start(&EalOptions { control_core: 1, worker_cores: Vec::new(), extra })?;
    Ok(*EAL.get_or_init(|| eal))
}

/// Whether DPDK's look-up by AVX-512 runs here.
pub(crate) fn has_vector() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Nanoseconds for each of `items`.
pub(crate) fn per_item(items: usize, work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_nanos() as f64 / items as f64
}

/// Which of `entries` are asked for, one after another: at random; by Zipf's law with exponent 1; in
/// order.
pub(crate) fn orders(
    entries: usize,
    count: usize,
    random: &mut Random,
) -> [(&'static str, Vec<usize>); 3] {
    let mut ranks: Vec<usize> = (0..entries).collect();
    for at in (1..entries).rev() {
        ranks.swap(at, random.below(at + 1));
    }
    // The rank r of n comes as often as 1/r: n to the power of a uniform number.
    let zipf = |random: &mut Random| {
        let uniform = (random.number() >> 11) as f64 / (1u64 << 53) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let rank = (entries as f64).powf(uniform) as usize;
        ranks[rank.clamp(1, entries) - 1]
    };
    [
        ("random", (0..count).map(|_| random.below(entries)).collect()),
        ("zipf", (0..count).map(|_| zipf(random)).collect()),
        ("sequential", (0..count).map(|number| number % entries).collect()),
    ]
}
