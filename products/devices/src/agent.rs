//! The node agent: one process that shows a kubelet what this node has, and gives it away.
//!
//! ```text
//! reload ──rules──► owner ──lists──► resources ──► device plugin ──► kubelet
//!                    ▲  ▲ ──────────answers ───────────┘
//! the machine ───────┘  └── claims ◄── ask ◄──────────────────────── kubelet
//! ```
//!
//! Each part is a task of its own, and all of them run on one thread; what takes longer with more devices, looking and
//! deciding, is done on another.

mod ask;
mod clerk;
mod desk;
mod give;
mod kept;
mod ledger;
mod metrics;
mod offers;
mod office;
mod owner;
mod reload;
mod report;
pub mod source;
mod states;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use outrigger_config::Address;
use outrigger_device_plugin::{DevicePlugin, Place, ResourceName};
use outrigger_host::{Locks, Watches, memory};
use outrigger_runtime::admin::Listener;
use outrigger_runtime::{LogLevel, Readiness, Tasks, admin, start_logging, stop_on_signals_but_hangup};
use outrigger_terminal::out;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::claims::{self, Pods};
use crate::directory::writable;
use crate::inventory::Inventory;
use crate::settings::{Configuration, Settings, Surroundings};
use crate::survey::Changes;
use clerk::{Clerk, Verdict};
use kept::Kept;
use ledger::Ledger;
use metrics::Metrics;
use offers::Offers;
pub use office::errands;
use owner::{Inbox, Outbox, Owner};
use reload::Reload;
use source::Source;

/// How long the tasks have to end after a stop.
const GRACE: Duration = Duration::from_millis(1950);

/// How long after the start nothing of it is needed any more.
const SETTLED: Duration = Duration::from_secs(10);

/// How long the first answer about claims is waited for.
const FIRST_CLAIMS: Duration = Duration::from_millis(200);

/// How many calls of the kubelet may wait: it sends one at a time.
const ASKS: usize = 64;

/// Runs the node agent to its end; what it answers is the exit code of the process.
pub fn main(source: Source) -> ExitCode {
    let around = Surroundings::here();
    let (wrong, cannot) = source.codes();
    let last_words = source.last_words();
    let read = source.read(&around).and_then(|(configuration, log_level)| {
        let (inventory, odd) = Inventory::of(&configuration)?;
        Ok((configuration, inventory, odd, log_level))
    });
    let (mut configuration, inventory, odd, log_level) = match read {
        Ok(read) => read,
        Err(faults) => {
            out::note(&if wrong == 2 { faults.to_string() } else { format!("{last_words}: {faults}") });
            return ExitCode::from(wrong);
        }
    };
    configuration.warnings.extend(odd);
    match run(source, around, configuration, inventory, log_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::note(&format!("{last_words}: {error:#}"));
            ExitCode::from(cannot)
        }
    }
}

fn run(
    source: Source,
    around: Surroundings,
    configuration: Configuration,
    inventory: Inventory,
    log_level: &str,
) -> anyhow::Result<()> {
    memory::share_one_heap();
    // Reading arguments and configuration is over; the largest lists are made next.
    memory::forget_executable();
    let filter = log_level.parse().context("the level of logs")?;
    let log_level = start_logging(filter).context("cannot log")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let stop = stop_on_signals_but_hangup().context("cannot handle signals")?;
        let admin = match &configuration.settings.admin {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let parts = Parts { source: Arc::new(source), around, configuration, inventory, admin, log_level };
        tokio::select! {
            served = serve(parts, stop.token().clone()) => served,
            never = settle() => match never {},
        }
    })
}

/// Gives back, once the agent has settled, what its start has used; an audit does so with what it used itself.
async fn settle() -> Infallible {
    sleep(SETTLED).await;
    economize();
    pending().await
}

/// Gives back memory that is not needed now: what large decisions leave, and what of the executable is rarely used.
fn economize() {
    let bytes = memory::forget_executable();
    debug!("Of the executable {bytes} bytes were in memory");
    memory::forget_freed();
}

/// What a node agent is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where its configuration comes from, to be read again.
    pub source: Arc<Source>,
    /// What is around it.
    pub around: Surroundings,
    /// What was read.
    pub configuration: Configuration,
    /// The rules and the machine.
    pub inventory: Inventory,
    /// Where its admin endpoint is, bound.
    pub admin: Option<Listener>,
    /// Changes what is logged.
    pub log_level: LogLevel,
}

/// Serves until `stop`.
///
/// # Errors
/// Where it cannot run at all, or a part of it has ended.
pub async fn serve(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let Parts { source, around, configuration, inventory, admin, log_level } = parts;
    for warning in &configuration.warnings {
        warn!("{warning}");
    }
    let settings = configuration.settings.clone();
    let watches = Watches::new();
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, source.is_gdp());
    let inventory = Arc::new(inventory);
    let (plugin, serving) = DevicePlugin::new(place(&settings)?, watches.clone());
    let (ask_claims, requests) = mpsc::channel(1);
    let (told, holders) = watch::channel(None);
    let (inventories, rules) = watch::channel(Arc::clone(&inventory));
    let changes = Changes::of(&inventory, watches.clone());
    let (asks, asked) = mpsc::channel(ASKS);
    let socket = claims::socket(&settings.kubelet_directory);
    // What pods have already must not leave the list for a moment; a kubelet that is slow to tell is not waited for.
    let known = timeout(FIRST_CLAIMS, claims::pods(&socket)).await.ok().and_then(Result::ok);
    let locks = locks(&settings);
    let mut ledger = Ledger::new(locks.clone(), inventory.survey.roots.clone());
    let mut clerk = Clerk::new(inventory, locks);
    let first = first_look(&mut clerk, known.as_ref(), &mut ledger);
    let readiness = Readiness::new();
    let names = first.decided.decision.lists.iter().filter_map(|list| ResourceName::new(&list.resource).ok());
    let conditions: BTreeMap<_, _> = names.map(|name| (name.clone(), readiness.condition(name.to_string()))).collect();
    let (decided, seen) = watch::channel(first.decided.clone());
    let (offers, wanted) = Offers::new(asks, seen, metrics.clone());
    let locked = ledger.directory().map(|directory| watches.contents(directory));
    let (unnamed, is_unnamed) = watch::channel(false);
    let looks = readiness.condition("looking at the machine");
    let out = Outbox { offers, decided, ask_claims, unnamed, metrics: metrics.clone(), looks };
    let kept = Kept::at(&settings.plugin_directory);
    let owner = Owner::begin(clerk, first, (ledger, kept), out).context("cannot start a thread")?;
    let inbox = Inbox { asks: asked, holders, inventories: rules, changes, locked };
    let comes = watches.directory(settings.kubelet_directory.join("pod-resources"));
    let occasions = ask::Occasions { audit: settings.audit, requests, comes, unnamed: is_unnamed };
    let reload = Reload { source, around, configuration, inventories, metrics: metrics.clone() };

    let mut tasks = Tasks::new(stop.clone());
    tasks.start("kubelet", serving.run(stop.clone()));
    tasks.start("resources", offers::serve(plugin.clone(), wanted, stop.clone()));
    tasks.start("states", states::tell(plugin.states(), readiness.clone(), conditions, metrics, stop.clone()));
    tasks.start("devices", owner.run(inbox, settings.audit, stop.clone()));
    tasks.start("claims", ask::ask(socket, occasions, told, stop.clone()));
    tasks.start("reload", reload.run(watches, stop.clone()));
    if let Some(listener) = admin {
        tasks.start("admin", admin::serve(listener, Arc::new(registry), readiness, log_level, stop.clone()));
    }
    tasks.finish(GRACE).await.map_err(Into::into)
}

/// What there is, beside the claims that are known already; their locks are taken, or waited for.
fn first_look(clerk: &mut Clerk, known: Option<&Pods>, ledger: &mut Ledger) -> Verdict {
    clerk.look(true);
    if let Some(known) = known {
        ledger.told(known, Duration::ZERO);
    }
    clerk.learn(ledger.take_news());
    let first = clerk.decide(Duration::ZERO);
    if !ledger.follow(&first.decided.decision, &clerk.elsewhere(), Duration::ZERO) {
        return first;
    }
    clerk.learn(ledger.take_news());
    clerk.decide(Duration::ZERO)
}

/// Where the kubelet is served; a directory that is not there, or not for us, cannot be mended by waiting.
fn place(settings: &Settings) -> anyhow::Result<Place> {
    let Settings { plugin_directory, kubelet_directory, audit, .. } = settings;
    let pod_resources = kubelet_directory.join("pod-resources");
    writable(plugin_directory).map_err(anyhow::Error::msg).with_context(|| {
        let directory = plugin_directory.display();
        format!("cannot use {directory}, the kubelet's directory of device plugins (if a kubelet of this machine has another, set pluginDirectory)")
    })?;
    Ok(Place {
        directory: plugin_directory.clone(),
        kubelet_directory: kubelet_directory.join("device-plugins"),
        pod_resources: pod_resources.is_dir().then_some(pod_resources),
        audit: *audit,
    })
}

/// The machine's locks; without them one warning, and no failure.
fn locks(settings: &Settings) -> Option<Locks> {
    let locks = settings.locks().inspect_err(|error| {
        warn!("Devices are not locked, so that `outrigger run` may give them away too: {error:#}");
    });
    locks.ok()
}

/// Binds the address of the admin endpoint.
async fn listen(address: &Address) -> anyhow::Result<Listener> {
    match address {
        Address::Unix(path) => {
            // Of an earlier process; nobody else makes a socket here.
            let _ = std::fs::remove_file(path);
            UnixListener::bind(path).map(Listener::from).with_context(|| format!("cannot listen at {}", path.display()))
        }
        Address::Tcp { host, port } => {
            let addresses = outrigger_host::names::resolve(host).await;
            let failed = || format!("cannot listen at {address}; set admin to an address that is free");
            let addresses = addresses.with_context(failed)?;
            let addresses: Vec<std::net::SocketAddr> =
                addresses.into_iter().map(|address| (address, *port).into()).collect();
            match TcpListener::bind(&addresses[..]).await {
                Err(_) if host == "::" => {
                    TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, *port)).await.with_context(failed)
                }
                bound => bound.with_context(failed),
            }
            .map(Listener::from)
        }
    }
}
