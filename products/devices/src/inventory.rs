//! The rules and a machine, joined: what the node agent serves, what `list` shows, and what `outrigger run` claims from.
//!
//! What it does not do: it remembers nothing. Who goes on deciding keeps the state of the last decision, the claims and the
//! time itself.

use std::time::Duration;

use outrigger_config::{Fault, Faults};
use outrigger_device_core::decide::{Claims, Decision, Input, State, decide};
use outrigger_device_core::picture::Picture;
use outrigger_device_core::rules::Rules;

use crate::rules::rules;
use crate::settings::Configuration;
use crate::survey::Survey;

/// Rules, and where to look.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// The rules, without faults.
    pub rules: Rules,
    /// The machine.
    pub survey: Survey,
}

impl Inventory {
    /// Of a configuration, with what is odd about its rules.
    ///
    /// # Errors
    /// Everything that is wrong with the rules, each with its place; and a machine that is not there.
    pub fn of(configuration: &Configuration) -> Result<(Self, Faults), Faults> {
        let root = &configuration.settings.host_root;
        if !root.is_dir() {
            let why = format!("{} is no directory here: no device can be seen below it", root.display());
            return Err(Fault::error("hostRoot", why).help("leave it out for this machine itself").into());
        }
        let (rules, odd) = rules(configuration)?;
        Ok((Self { rules, survey: Survey::of(&configuration.settings) }, odd))
    }

    /// Looks at the machine now.
    pub fn picture(&self) -> Picture {
        self.survey.picture(&self.rules)
    }

    /// Decides by a picture, after an earlier decision; `now` is since any fixed moment of a clock that never jumps.
    pub fn decide(&self, picture: &Picture, claims: &Claims, previous: &State, now: Duration) -> Decision {
        decide(Input { rules: &self.rules, picture, claims, previous, now })
    }

    /// Looks at everything and decides once, as for the first time.
    pub fn decide_once(&self, claims: &Claims) -> (Picture, Decision) {
        let picture = self.survey.whole(&self.rules);
        let decision = self.decide(&picture, claims, &State::default(), Duration::ZERO);
        (picture, decision)
    }
}
