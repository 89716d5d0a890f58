//! Finds libdpdk by pkg-config, generates the raw names from its headers and compiles the shim.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Oldest libdpdk that we build against and start with; [`TOO_OLD`] says why.
const MIN_VERSION: (u32, u32, u32) = (22, 11, 11);
const TOO_OLD: &str = "before 22.11.11 a guest can crash the process by the checksum offsets that \
                       its virtio-net headers ask for (CVE-2024-11614)";

/// Functions that Rust calls. What headers define as static inline is reached through `gw_` names.
const FUNCTIONS: &[&str] = &[
    "gw_.*",
    // EAL
    "rte_(openlog_stream|log_cur_msg_loglevel|log_set_global_level|strerror)",
    "rte_version_(year|month|minor|release)",
    "rte_version",
    "rte_eal_(init|cleanup|remote_launch|wait_lcore|get_lcore_state|has_hugepages)",
    "rte_get_tsc_hz",
    "rte_malloc|rte_zmalloc|rte_free|rte_malloc_get_socket_stats",
    // mempool and mbuf
    "rte_pktmbuf_(pool_create_by_ops|copy|free_bulk)",
    "rte_mempool_(avail_count|in_use_count|free|lookup|get_ops_byname)",
    "rte_mbuf_dynfield_(register|lookup)",
    // devices
    "rte_dev_(probe|remove)",
    "rte_eth_dev_(configure|start|stop|close|set_mtu|get_mtu|info_get|count_total|is_valid_port)",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|default_mac_addr_set|is_removed)",
    "rte_eth_dev_(set_link_up|set_link_down|socket_id|adjust_nb_rx_tx_desc)",
    "rte_eth_dev_callback_(register|unregister)",
    "rte_eth_dev_rx_intr_(enable|disable|ctl_q_get_fd)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_(macaddr_get|link_get_nowait|promiscuous_(enable|disable|get))",
    "rte_eth_allmulticast_(enable|disable|get)",
    "rte_eth_(stats_get|stats_reset|xstats_get|xstats_get_names|xstats_reset)",
    // vhost library
    "rte_vhost_driver_(register|unregister|callback_register|start)",
    "rte_vhost_get_(negotiated_features|mtu|vring_num|ifname|log_base)",
    "rte_vhost_(enqueue_burst|dequeue_burst|enable_guest_notification)",
    // copies for dpdk-dumpcap
    "rte_pdump_init",
    // tables of DPDK's own, the references of tests and benchmarks
    "rte_fib_(create|find_existing|free|add|delete|lookup_bulk|select_lookup)",
    "rte_lpm_(create|free|add|delete)",
    "rte_hash_(create|free|add_key_data|del_key|lookup_data|lookup_bulk_data|count)",
];

const TYPES: &[&str] = &[
    "rte_mbuf",
    "rte_mbuf_dynfield",
    "rte_mempool",
    "rte_eth_(conf|dev_info|link|stats|xstat|xstat_name|rxconf|txconf|event_type)",
    "rte_ether_addr",
    "rte_vhost_device_ops",
    "rte_fib_(conf|type|dir24_8_nh_sz|lookup_type)",
    "rte_lpm_config",
    "rte_hash_parameters",
];

const CONSTANTS: &[&str] = &[
    "GW_.*",
    "RTE_MAX_(ETHPORTS|LCORE)",
    "RTE_ETHER_(MIN_MTU|HDR_LEN|CRC_LEN)",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_LOG_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG)",
    "RTE_HASH_LOOKUP_BULK_MAX",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim.c");
    println!("cargo::rerun-if-changed=shim.h");

    let library = pkg_config::Config::new()
        .print_system_libs(false)
        .probe("libdpdk")
        .map_err(|error| format!("libdpdk not found (Debian: apt install libdpdk-dev): {error}"))?;
    check_version(&library.version)?;

    // The crate pkg-config keeps include paths and libraries only; DPDK's flags also name a header
    // to include first and the instruction set that its inlines are compiled for.
    let flags = compiler_flags()?;

    let mut compiler = cc::Build::new();
    compiler.file("shim.c").warnings(true).opt_level(3);
    flags.iter().for_each(|flag| {
        compiler.flag(flag);
    });
    compiler.try_compile("gwshim")?;

    let mut bindings = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(&flags)
        .use_core()
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        // Built again when libdpdk's headers change, and the shim with its copies of their inlines too.
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .merge_extern_blocks(true)
        .prepend_enum_name(false);
    for name in FUNCTIONS {
        bindings = bindings.allowlist_function(name);
    }
    for name in TYPES {
        bindings = bindings.allowlist_type(name);
    }
    for name in CONSTANTS {
        bindings = bindings.allowlist_var(name);
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("names.rs");
    bindings.generate()?.write_to_file(out)?;

    let (year, month, minor) = MIN_VERSION;
    println!("cargo::rustc-env=GUESTWAY_DPDK_MIN={year}.{month}.{minor}");
    println!("cargo::rustc-env=GUESTWAY_DPDK_TOO_OLD={TOO_OLD}");
    println!("cargo::rustc-env=GUESTWAY_DPDK_FOUND={}", library.version);
    Ok(())
}

fn check_version(found: &str) -> Result<(), String> {
    let mut numbers = found.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    if version < MIN_VERSION {
        let (year, month, minor) = MIN_VERSION;
        return Err(format!(
            "libdpdk {found} is too old, {year}.{month}.{minor} or later is needed: {TOO_OLD}"
        ));
    }
    Ok(())
}

/// What `pkg-config --cflags libdpdk` prints, as separate arguments.
fn compiler_flags() -> Result<Vec<String>, Box<dyn Error>> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(program).args(["--cflags", "libdpdk"]).output()?;
    if !output.status.success() {
        return Err(format!("pkg-config: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(str::to_owned).collect())
}
