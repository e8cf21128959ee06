//! `cargo xtask`: the only door to checking, testing and measuring this project, for people and CI alike.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]
mod cache;
mod check;
mod ci;
mod cluster;
mod door;
mod go;
mod image;
mod leftovers;
mod measure;
mod parts;
mod project;
mod setup;
mod sid;
mod step;
mod test;
mod tidy;
mod vm;

fn main() -> std::process::ExitCode {
    step::exit_code(door::open())
}
