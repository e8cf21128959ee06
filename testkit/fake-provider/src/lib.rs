//! Hands out a made-up resource: a number of seats, a queue for those who wait, loss on demand.
//!
//! It is the second implementation of the runner's claim trait beside those of CPU pools, devices and licenses, and
//! checks the runner's side of it: nothing is given back twice, nothing is asked that is not served.
//!
//! What it does not do: it remembers nothing over a restart of the test.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrigger_launcher::BoxFuture;
use outrigger_launcher::claims::{ClaimError, ClaimRequest, HeldClaim, Progress, Provider, Served};
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::plan::ContainerName;
use tokio::sync::watch;

/// The resource that it serves.
pub const SEAT: &str = "example.test/seat";

/// Hands out seats. Cheap to clone; every clone is the same provider.
#[derive(Clone)]
pub struct Seats {
    total: u64,
    taken: watch::Sender<u64>,
    log: Arc<Mutex<Log>>,
}

/// What happened.
#[derive(Default)]
struct Log {
    given: Vec<String>,
    returned: Vec<String>,
    cleared: Vec<String>,
    lost: Vec<watch::Sender<Option<String>>>,
}

impl Seats {
    /// A provider of this many seats.
    pub fn new(total: u64) -> Self {
        Self { total, taken: watch::Sender::default(), log: Arc::default() }
    }

    /// Takes seats away from the outside, so that pods must wait.
    pub fn occupy(&self, seats: u64) {
        self.taken.send_modify(|taken| *taken += seats);
    }

    /// Gives them back.
    pub fn vacate(&self, seats: u64) {
        self.taken.send_modify(|taken| *taken -= seats);
    }

    /// Tells every holder that its claim is lost.
    pub fn lose_all(&self, why: &str) {
        for lost in &self.log().lost {
            lost.send_replace(Some(why.to_owned()));
        }
    }

    /// How many seats are taken.
    pub fn taken(&self) -> u64 {
        *self.taken.borrow()
    }

    /// The uids of pods in the order in which they got their seats.
    pub fn given(&self) -> Vec<String> {
        self.log().given.clone()
    }

    /// The uids of pods in the order in which they gave them back.
    pub fn returned(&self) -> Vec<String> {
        self.log().returned.clone()
    }

    /// The uids of pods that were cleared up after.
    pub fn cleared(&self) -> Vec<String> {
        self.log().cleared.clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the seats if they are free now.
    fn take(&self, seats: u64) -> bool {
        self.taken.send_if_modified(|taken| {
            let fits = *taken + seats <= self.total;
            *taken += if fits { seats } else { 0 };
            fits
        })
    }
}

impl Provider for Seats {
    fn serves(&self) -> Vec<Served> {
        vec![Served {
            resource: SEAT.to_owned(),
            total: self.total,
            free: Some(self.total.saturating_sub(self.taken())),
        }]
    }

    fn claim(
        &self,
        request: ClaimRequest,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Box<dyn HeldClaim>, ClaimError>> {
        Box::pin(async move {
            let wanted: u64 = request.containers.iter().flat_map(|(_, amounts)| amounts.values()).sum();
            let unserved = request.containers.iter().flat_map(|(_, amounts)| amounts.keys()).find(|name| *name != SEAT);
            assert_eq!(unserved, None, "asked for something that is not served");
            if wanted > self.total {
                let why = format!("there are {} of them and the pod asks for {wanted}", self.total);
                return Err(ClaimError::Refused { resource: SEAT.to_owned(), why });
            }
            let mut taken = self.taken.subscribe();
            while !self.take(wanted) {
                let message = format!("waits for {wanted} of {SEAT}");
                progress.send_replace(Progress { message });
                let _ = taken.wait_for(|taken| *taken + wanted <= self.total).await;
            }
            self.log().given.push(request.plan.uid.clone());
            let values = request.containers.into_iter().map(|(container, amounts)| {
                let seats = amounts.get(SEAT).copied().unwrap_or_default();
                let env = [("SEATS".to_owned(), seats.to_string())].into();
                (container, ClaimValue { env, ..ClaimValue::default() })
            });
            let (tell, lost) = watch::channel(None);
            self.log().lost.push(tell);
            let lock = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok().map(Arc::new);
            let (uid, values) = (request.plan.uid.clone(), values.collect());
            Ok(Box::new(Held { seats: self.clone(), uid, wanted, values, lost, lock }) as Box<dyn HeldClaim>)
        })
    }

    fn clear<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), ClaimError>> {
        Box::pin(async move {
            self.log().cleared.push(uid.to_owned());
            Ok(())
        })
    }
}

struct Held {
    seats: Seats,
    uid: String,
    wanted: u64,
    values: BTreeMap<ContainerName, ClaimValue>,
    lost: watch::Receiver<Option<String>>,
    lock: Option<Arc<OwnedFd>>,
}

impl HeldClaim for Held {
    fn values(&self) -> &BTreeMap<ContainerName, ClaimValue> {
        &self.values
    }

    fn descriptors(&self) -> Vec<Arc<OwnedFd>> {
        self.lock.iter().cloned().collect()
    }

    fn lost(&self) -> watch::Receiver<Option<String>> {
        self.lost.clone()
    }

    fn give_back(self: Box<Self>) -> BoxFuture<'static, Result<(), ClaimError>> {
        Box::pin(async move {
            self.seats.vacate(self.wanted);
            self.seats.log().returned.push(self.uid.clone());
            Ok(())
        })
    }
}
