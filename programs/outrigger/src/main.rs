//! The executable.
fn main() {
    outrigger_pod_runner::agent::dispatch();
}
