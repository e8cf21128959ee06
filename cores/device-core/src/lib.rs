//! Which devices of a host are offered to pods, which are withheld and why, and what a pod gets with one.
//!
//! ```text
//!   rules (configuration) ─┐
//!   picture (the host now) ─┤
//!   claims (who has what) ──┼──► decide ──► lists, states with reasons, the next state ──► answer, prefer
//!   state (what was) ───────┤                                            │
//!   now ────────────────────┘                        a fresh look ──► refuse
//! ```
//!
//! This core decides and touches nothing: no clock (`now` is a [`Duration`](std::time::Duration) since any fixed moment of
//! a clock that never jumps), no files, no environment. One decision serves the kubelet's door, the pod runner's door and
//! everything that explains.
//!
//! Read in this order: [`rules`] and [`picture`] are what goes in, [`mod@decide`] is the decision and what comes out,
//! [`mod@unit`] is what a pod gets, [`refuse`] and [`answer`] are what happens when it is handed out, [`prefer`] chooses among
//! free ones. [`hold`] are the locks. [`ids`], [`gdp`] and [`pattern`] are the small parts.

pub mod answer;
pub mod checks;
pub mod decide;
pub mod gdp;
pub mod hold;
pub mod ids;
pub mod pattern;
pub mod picture;
pub mod prefer;
pub mod refuse;
pub mod rules;
pub mod unit;
