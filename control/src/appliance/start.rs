//! From a configuration file to a running appliance, and its orderly end.
//!
//! Order: file, sockets, state, DPDK, pool, workers, ports and guests, API, metrics and page. What the operator named in the
//! file has to open, or the start fails in one line; a guest's port that does not (its namespace may
//! not be there yet) is told, and tried again until it does.

use super::Appliance;
use super::account::ACCOUNTS_EVERY;
use crate::accounts::Accounts;
use crate::api::backend::{self, PATIENCE, Refusal};
use crate::api::server::{self, BoundSocket, SocketError};
use crate::api::view::{EventKind, PortLabel};
use crate::cli::{prompt, terminal};
use crate::config::{self, Config, ConfigError, Polling, StartPlan, plan_start};
use crate::heartbeat::Beats;
use crate::http::{BoundTcp, ListenError};
use crate::journal::{Store, StoreError};
use crate::manager::Manager;
use crate::metrics::{self, Baselines};
use crate::neighbor::cache::Limits;
use crate::neighbor::{AddressClaims, NeighborCache};
use crate::page;
use crate::privileges::{self, PrivilegeError, syscalls};
use crate::publish::{FreshTables, PublishError, Publisher, WorkerEnd, Workers};
use crate::registry::{Effect, Origin, Port, Registry};
use crossbeam::queue::ArrayQueue;
use dataplane::counters::Counters;
use dataplane::dpdk::{
    DpdkIo, Eal, EalError, EalOptions, Pool, PoolError, PoolOps, PoolSpec, lcore, pdump,
    raise_descriptor_limit,
};
use dataplane::pipeline::{Path, Rates};
use dataplane::worker::Worker;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One of so many mbufs may hold a frame that waits because of a rate limit, at all workers together.
const WAITING_SHARE: usize = 4;
/// Frames that may wait for control, per worker.
const PUNTS: usize = 1024;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Configuration file.
    pub config: PathBuf,
    /// Prompt on the terminal.
    pub interactive: bool,
    /// The file's guests replace the stored ones where they differ.
    pub apply: bool,
    /// Further EAL arguments.
    pub eal_args: Vec<String>,
}

/// Why the appliance did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file: every error of it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<ConfigError>),
    /// EAL arguments after `--`.
    #[error("{0}")]
    Arguments(String),
    /// The stored state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// DPDK.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// The packet pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Tables or workers.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What is registered can't be put in force.
    #[error(transparent)]
    Refused(Refusal),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Where metrics or the page are to be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Rights to give away.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// System calls to do without.
    #[error(transparent)]
    Confine(#[from] syscalls::ConfineError),
    /// The operating system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Sockets that listen and are not served yet.
struct Bound {
    api: BoundSocket,
    metrics: Option<BoundTcp>,
    page: Option<BoundTcp>,
}

/// Nanoseconds per 2^32 turns of the time stamp counter. Written once, before workers start.
static NS_PER_TURN: AtomicU64 = AtomicU64::new(0);

/// The workers' clock: monotonic nanoseconds from the time stamp counter.
pub(super) fn worker_clock_ns() -> u64 {
    let scale = u128::from(NS_PER_TURN.load(Ordering::Relaxed));
    u64::try_from((u128::from(lcore::now_tsc()) * scale) >> 32).unwrap_or(u64::MAX)
}

fn set_clock() {
    let hz = u128::from(lcore::tsc_hz().max(1));
    let scale = (1_000_000_000_u128 << 32) / hz;
    NS_PER_TURN.store(u64::try_from(scale).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Runs the appliance until it is told to end. Returns the exit code; DPDK is down then.
///
/// # Errors
/// Whatever keeps it from starting, in one line (a faulty file: one line per fault).
pub fn run(options: &RunOptions) -> Result<std::convert::Infallible, StartError> {
    let config = config::load(&options.config).map_err(StartError::Config)?;
    let user = nix::unistd::Uid::effective();
    if !user.is_root() {
        // Said by itself, before the first thing that fails for want of it.
        return Err(EalError::NotRoot { uid: user.as_raw() }.into());
    }
    config::check_eal_args(&options.eal_args).map_err(StartError::Arguments)?;
    let should_end = flag_of(&[signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    let should_reload = flag_of(&[signal_hook::consts::SIGHUP])?;
    let settings = config.appliance.clone();
    // Bound before anything is touched: a second appliance on one of these ends here.
    let bound = Bound {
        api: server::bind(&settings.socket, settings.socket_group.as_deref())?,
        metrics: settings.metrics.map(metrics::bind).transpose()?,
        page: settings.page.map(page::bind).transpose()?,
    };
    let mut store = Store::open(&settings.state_dir)?;
    let (plan, notices) = recall(&config, &mut store, options.apply)?;
    // Which takes a right that is not kept.
    raise_descriptor_limit()
        .map_err(|source| StartError::System { what: "limit of open files", source })?;
    privileges::keep_needed()?;
    let eal_args: Vec<String> = settings.eal.iter().chain(&options.eal_args).cloned().collect();
    let eal = Eal::start(&EalOptions {
        control_core: settings.control_core,
        worker_cores: settings.workers.clone(),
        extra: eal_args.clone(),
    })?;
    set_clock();
    let mut appliance =
        build(eal, config, plan.registry, store, should_end).inspect_err(|_| eal.give_up())?;
    appliance.should_reload = should_reload;
    notices.iter().for_each(|notice| appliance.tell(EventKind::State, notice));
    appliance.let_dumpcap_in(&eal_args);
    let started = appliance.begin();
    let confined = started.and_then(|()| Ok(appliance.confine()?));
    let served = confined.and_then(|()| appliance.serve_sockets(bound, options.interactive));
    if let Err(error) = &served {
        appliance.event(&error.to_string());
    }
    appliance.end(i32::from(served.is_err()))
}

impl Appliance {
    /// Copies of ports' frames for `dpdk-dumpcap`, where it can map our memory.
    fn let_dumpcap_in(&self, eal_args: &[String]) {
        if !config::shares_memory(eal_args) {
            return;
        }
        if let Err(reason) = pdump::serve(self.eal, self.publisher.qsbr.clone()) {
            // `capture` does without; that is no reason not to forward.
            self.event(&format!("dpdk-dumpcap can't look in: {reason}"));
        }
    }
}

/// A flag that these signals set.
fn flag_of(signals: &[i32]) -> Result<Arc<AtomicBool>, StartError> {
    let flag = Arc::<AtomicBool>::default();
    for signal in signals {
        signal_hook::flag::register(*signal, flag.clone())
            .map_err(|source| StartError::System { what: "signals", source })?;
    }
    Ok(flag)
}

/// What is registered, on disk, and what the operator should know of it.
fn recall(
    config: &Config,
    store: &mut Store,
    apply: bool,
) -> Result<(StartPlan, Vec<String>), StartError> {
    let stored = store.load()?;
    let (document, cut) = match stored {
        Some(stored) => (Some(stored.document), stored.notice),
        None => (None, None),
    };
    let plan = plan_start(config, document, apply)
        .map_err(|refusal| StartError::Refused(refusal.into()))?;
    let mut notices: Vec<String> = cut.into_iter().chain(plan.notices(config)).collect();
    match store.save(&plan.registry) {
        Ok(()) => {}
        // What the file brings is not on disk yet, and whoever is told that it runs relies on it.
        Err(error) if plan.imported => return Err(error.into()),
        // All of it is: a full disk must not keep a host's guests from each other.
        Err(error) => notices.push(error.to_string()),
    }
    Ok((plan, notices))
}

fn build(
    eal: Eal,
    config: Config,
    registry: Registry,
    store: Store,
    should_end: Arc<AtomicBool>,
) -> Result<Appliance, StartError> {
    let settings = &config.appliance;
    let shares_core = settings.workers.contains(&settings.control_core);
    let ops = if shares_core { PoolOps::RingMtRts } else { PoolOps::RingMpMc };
    let pool = Pool::create(eal, &PoolSpec::new("guestway", settings.mbufs, ops))?;
    let fresh = FreshTables::new(settings.workers.len());
    let mut ends = Vec::new();
    for (position, core) in settings.workers.iter().enumerate() {
        ends.push(launch(eal, position, *core, settings.polling, &fresh, &pool)?);
    }
    let mut publisher = Publisher::new(fresh, Workers::new(ends))?;
    let workers = settings.workers.len().max(1);
    publisher.set_shaping_room(settings.mbufs as usize / WAITING_SHARE / workers);
    let seed = std::process::id().into();
    let now = Instant::now();
    let appliance = Appliance {
        eal,
        pool,
        registry,
        config,
        store,
        publisher,
        devices: BTreeMap::new(),
        failed: BTreeMap::new(),
        neighbors: NeighborCache::new(Limits::default(), seed),
        claims: AddressClaims::new(seed),
        counters: Arc::new(Counters::new()),
        port_baselines: Baselines::default(),
        adapter_baselines: Baselines::default(),
        events: RefCell::default(),
        accounts: Accounts::default(),
        accounts_written: String::new(),
        accounts_due: now + ACCOUNTS_EVERY,
        beats: Beats::new(eal.workers(), 0),
        manager: Manager::default(),
        sight: Default::default(),
        is_forwarding: true,
        started: now,
        // A clock before the epoch is no reason not to start.
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        should_end,
        should_reload: Arc::default(),
        punt_turn: 0,
        chores_due: now,
        is_restoring: true,
        conflicts_told: HashMap::new(),
        limits_told: HashMap::new(),
    };
    if shares_core {
        let core = appliance.config.appliance.control_core;
        let text = format!(
            "control shares core {core} with a worker: answers to ARP and commands will be slower"
        );
        appliance.tell(EventKind::Program, &text);
    }
    Ok(appliance)
}

fn launch(
    eal: Eal,
    position: usize,
    core: usize,
    polling: Polling,
    fresh: &FreshTables,
    pool: &Pool,
) -> Result<WorkerEnd<DpdkIo>, StartError> {
    let counters = Arc::new(Counters::new());
    let punts = Arc::new(ArrayQueue::new(PUNTS));
    let path: Path<DpdkIo> =
        Path::new(fresh.tables.clone(), counters.clone(), *pool, punts.clone(), Rates::default());
    let missing = || StartError::System {
        what: "worker",
        source: std::io::Error::other("no place among the tables' readers"),
    };
    let reader = fresh.qsbr().register().ok_or_else(missing)?;
    let (mut worker, link) = Worker::new(path, reader, worker_clock_ns).map_err(|_| missing())?;
    if polling == Polling::Adaptive {
        let failed = |source| StartError::System { what: "worker", source };
        worker.let_sleep().map_err(failed)?;
    }
    let job = move || {
        // To give rights away is never refused, and a worker forwards with them as well.
        let _ = privileges::keep_none();
        worker.run();
    };
    eal.launch(position, Box::new(job))?;
    Ok(WorkerEnd::new(core, link, counters, punts))
}

impl Appliance {
    /// Puts what is registered in force. What the file names has to open.
    fn begin(&mut self) -> Result<(), StartError> {
        self.restore_accounts();
        let (ports, others) = everything(&self.registry);
        // Ports first: what hangs on them then finds them, and fails alone where it fails.
        for port in &ports {
            match self.port_in(port, &mut BTreeMap::new()) {
                Err(refusal) if port.origin == Origin::File => {
                    return Err(StartError::Refused(refusal));
                }
                Err(refusal) => self.event(&refusal.message),
                Ok(()) => {}
            }
        }
        self.put_in_force(&others, BTreeMap::new());
        self.is_restoring = false;
        Ok(())
    }

    /// Serves the control socket, metrics and the page, and works until told to end.
    fn serve_sockets(&mut self, bound: Bound, interactive: bool) -> Result<(), StartError> {
        let (backend, requests) = backend::channel(PATIENCE);
        let core = core_affinity::CoreId { id: self.config.appliance.control_core };
        // EAL pinned this thread; whoever it starts is placed anew, beside control.
        let place = move || {
            core_affinity::set_for_current(core);
        };
        let for_servers: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            place();
            // They read what others write, and all they ask for is done by control.
            let _ = privileges::keep_none();
        });
        let system = |what| move |source| StartError::System { what, source };
        let backend = Arc::new(backend);
        let mut served = format!("control socket {}", self.config.appliance.socket.display());
        let server = server::start(bound.api, backend.clone(), for_servers.clone())
            .map_err(system("control API"))?;
        let metrics_server = match bound.metrics {
            Some(bound) => {
                served = format!("{served}; metrics on http://{}/metrics", bound.address());
                let started = metrics::start(bound, backend.clone(), for_servers.clone());
                Some(started.map_err(system("metrics"))?)
            }
            None => None,
        };
        let page_server = match bound.page {
            Some(bound) => {
                served = format!("{served}; page on http://{}/", bound.address());
                Some(page::start(bound, backend, for_servers).map_err(system("page"))?)
            }
            None => None,
        };
        self.tell(EventKind::Program, &format!("ready; {served}"));
        self.tell_ready();
        if interactive {
            let should_end = self.should_end.clone();
            let path = self.config.appliance.socket.clone();
            std::thread::Builder::new()
                .name("prompt".into())
                .spawn(move || {
                    place();
                    prompt::run(&path, move || should_end.store(true, Ordering::Relaxed));
                })
                .map_err(system("prompt"))?;
        }
        self.serve(&requests);
        self.end_sight();
        drop(requests);
        server.stop();
        drop((metrics_server, page_server));
        Ok(())
    }

    /// Sends what waits, closes every port and ends DPDK and the process.
    fn end(&mut self, code: i32) -> ! {
        self.manager.stopping();
        let labels: Vec<PortLabel> = self.devices.keys().cloned().collect();
        for label in labels {
            self.remove_port(&label, false);
        }
        if let Err(error) = self.publisher.workers.shutdown() {
            self.event(&error.to_string());
        }
        for worker in 0..self.eal.workers() {
            if let Err(error) = self.eal.wait(worker) {
                self.event(&error.to_string());
            }
        }
        // All that is counted is counted now.
        self.save_accounts();
        terminal::restore();
        self.eal.exit(code)
    }
}

/// All that is registered, as if it had just been added: named ports, and everything else in an
/// order in which what is named comes before what names it.
fn everything(registry: &Registry) -> (Vec<Arc<Port>>, Vec<Effect>) {
    let ports = registry.ports().cloned().collect();
    let networks = registry.networks().cloned().map(Effect::NetworkAdded);
    let servers = registry.servers().cloned().map(Effect::ServerAdded);
    let adapters = registry.adapters().cloned().map(Effect::AdapterAdded);
    let macs = registry.static_macs().cloned().map(Effect::StaticMacAdded);
    let routes = registry.routes().map(Effect::RouteAdded);
    let neighbors = registry.neighbors().cloned().map(Effect::NeighborAdded);
    let classes = registry.classes().cloned().map(Effect::ClassAdded);
    let others = classes.chain(networks).chain(servers).chain(adapters).chain(macs).chain(routes);
    (ports, others.chain(neighbors).collect())
}
