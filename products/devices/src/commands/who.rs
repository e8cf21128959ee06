//! Who has which device, as the commands that look know it: what the kubelet tells, and what the machine's locks tell of
//! everybody else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_device_core::decide::{Claims, Decision, State};
use outrigger_device_core::picture::Picture;
use outrigger_device_core::unit::Unit;
use outrigger_host::Locks;

use crate::claims::{self, ClaimsError, Holders};
use crate::inventory::Inventory;
use crate::locks::{KIND, others};
use crate::settings::{Configuration, Settings};

/// Where who has what is asked.
#[derive(Clone, Debug)]
pub struct Who {
    socket: PathBuf,
    locks: Option<Locks>,
}

/// What was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By the kubelet: resource and id, and who has it.
    pub holders: Holders,
    /// Why the kubelet tells nothing, although one is here.
    pub untold: Option<String>,
    /// Whether no kubelet is here.
    pub alone: bool,
}

impl Who {
    /// Of the machine that the settings name.
    pub fn of(settings: &Settings) -> Self {
        Self { socket: claims::socket(&settings.kubelet_directory), locks: settings.locks().ok() }
    }

    /// Where the locks of devices are.
    pub fn locks(&self) -> Option<PathBuf> {
        self.locks.as_ref().map(|locks| locks.directory().join(KIND))
    }

    /// Asks the kubelet, if one is here.
    pub async fn told(&self) -> Told {
        match claims::holders(&self.socket).await {
            Ok(holders) => Told { holders, ..Told::default() },
            Err(error) if is_absent(&self.socket) => {
                drop(error);
                Told { alone: true, ..Told::default() }
            }
            Err(error) => Told { untold: Some(sentence(&self.socket, &error)), ..Told::default() },
        }
    }

    /// Decides with all of it. A lock that a pod of the kubelet has by one resource keeps no other resource from the device
    /// that shares it, as at the node agent.
    pub fn decide(&self, inventory: &Inventory, picture: &Picture, told: &Told, at: (&State, Duration)) -> Decision {
        let (previous, now) = at;
        let mut claims = Claims { held: told.holders.clone(), ..Claims::default() };
        let first = inventory.decide(picture, &claims, previous, now);
        let Some(locks) = &self.locks else { return first };
        let listed = first.lists.iter().flat_map(|list| list.listed.iter()).map(|listed| &listed.unit);
        let is_held = |resource: &str, id: &str| told.holders.contains_key(&(resource.to_owned(), id.to_owned()));
        let held = listed.filter(|unit| is_held(&unit.body.resource, &unit.id));
        let ours: BTreeSet<String> = held.flat_map(Unit::locks).collect();
        let known = (!told.alone && told.untold.is_none()).then_some(&told.holders);
        claims.elsewhere = others(locks, (&first, known), &inventory.survey.roots, |name| ours.contains(name));
        if claims.elsewhere.is_empty() { first } else { inventory.decide(picture, &claims, previous, now) }
    }
}

/// A machine as it was seen once, with whoever has something.
pub struct Seen<'i> {
    inventory: &'i Inventory,
    who: Who,
    /// What was told.
    pub told: Told,
    /// The whole machine.
    pub picture: Picture,
}

impl<'i> Seen<'i> {
    /// Looks at everything.
    pub fn now(configuration: &Configuration, inventory: &'i Inventory) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let who = Who::of(&configuration.settings);
        let told = runtime.block_on(who.told());
        Ok(Self { inventory, who, told, picture: inventory.survey.whole(&inventory.rules) })
    }

    /// Decides as for the first time.
    pub fn decide(&self) -> Decision {
        self.who.decide(self.inventory, &self.picture, &self.told, (&State::default(), Duration::ZERO))
    }
}

fn is_absent(socket: &Path) -> bool {
    std::fs::symlink_metadata(socket).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn sentence(socket: &Path, error: &ClaimsError) -> String {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let last = chain.last().map(ToString::to_string).unwrap_or_default();
    format!("Which pods of the kubelet hold devices is not shown: it does not tell at {} ({last}).", socket.display())
}
