//! `cargo xtask tidy`: what no compiler checks. Each check is a file of its own: a function from what it looks at to faults.
//!
//! | check | holds |
//! |---|---|
//! | `budgets` | lines of files, functions, crates and `main.rs`; parameters of functions |
//! | `docs` | every source file opens with a module doc |
//! | `edges` | which of our crates may use which, and what a core may use at all |
//! | `bans` | every core has a `clippy.toml` that keeps the bans of the root and of cores |
//! | `manifests` | versions, lints and the like stand in the root's `Cargo.toml` alone |
//! | `allowances` | unsafe code stands in named modules; a lint is silenced with a reason |
//! | `words` | no word that marks unfinished work |
//! | `symbols` | a static executable has no name-service calls (needs a built one: `tidy symbols PATH`) |
//!
//! An exception stands in [`exceptions`], by name and with a reason; one that is no longer needed is a fault itself.

mod allowances;
mod bans;
mod budgets;
mod docs;
mod edges;
mod exceptions;
mod manifests;
mod source;
pub mod symbols;
mod words;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::project::Project;
use crate::step::Found;
use source::Tree;

/// `cargo xtask tidy`.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    #[command(subcommand)]
    only: Option<Only>,
}

#[derive(Subcommand, Debug)]
enum Only {
    /// Whether a static executable holds calls that crash in it
    Symbols {
        /// The executable, with its symbol table
        executable: PathBuf,
    },
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    /// The check that found it.
    check: &'static str,
    /// What it is about: a path from the root, with a function's name after a space, or a crate. Exceptions name it.
    subject: String,
    /// What is wrong and what to do.
    text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.subject, self.text, self.check)
    }
}

/// Runs all checks on the project, or one that needs something built.
pub fn run(project: &Project, args: &Args) -> Result<()> {
    if let Some(Only::Symbols { executable }) = &args.only {
        return symbols::check(executable);
    }
    let tree = Tree::read(&project.root)?;
    let mut faults = budgets::check(&tree)?;
    faults.extend(docs::check(&tree));
    faults.extend(edges::check(&edges::graph(project)));
    faults.extend(bans::check(&tree));
    faults.extend(manifests::check(&tree));
    faults.extend(allowances::check(&tree));
    faults.extend(words::check(&tree));
    let mut faults = exceptions::apply(faults, exceptions::EXCEPTIONS);
    faults.sort();
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        0 => Ok(()),
        count => bail!(Found(format!("tidy found {count} faults"))),
    }
}
