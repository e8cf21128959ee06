//! An agent on its own, for this crate's tests: the executable `outrigger` is one too, but stands in a room above.

fn main() {
    outrigger_pod_runner::agent::dispatch();
}
