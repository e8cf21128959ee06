//! A smallest runner, for this crate's tests that kill one: the executable `outrigger` stands in a room above.
//!
//! `host-launcher-agent UID DIRECTORY namespaces|keeper SCRIPT` prepares a pod, starts a shell in it, says `started` and waits
//! for its end. Its agents are itself.

use std::sync::Arc;

use outrigger_launcher::{Launcher, Output};
use outrigger_pod_core::plan::PodPlan;

#[path = "../../tests/host/requests.rs"]
mod requests;

fn main() {
    outrigger_host_launcher::agent::dispatch();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [uid, directory, mode, script] = words.as_slice() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(run(uid, directory, mode, script));
    }
}

async fn run(uid: &str, directory: &str, mode: &str, script: &str) {
    let launcher = outrigger_host_launcher::HostLauncher::new().expect("the launcher starts");
    let launcher = if mode == "keeper" { launcher.without_namespaces() } else { launcher };
    let pod = serde_json::json!({
        "metadata": {"name": "bench"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
    });
    let pod = serde_json::from_value(pod).expect("it is a pod");
    let plan = Arc::new(PodPlan::new(pod, uid).expect("it has no faults"));
    launcher.prepare(requests::pod_request(&plan, directory.as_ref(), &["memory"])).await.expect("the pod is prepared");
    let request = requests::start_request(&plan, directory.as_ref(), &["sh", "-c", script], Vec::new());
    let running = launcher.start(request).await.expect("the container starts");
    let Output::Pipes { stdout, .. } = running.output else { return };
    // The first output shows that the script is under way.
    let mut byte = [0; 1];
    let _ = rustix::io::read(stdout, &mut byte);
    rustix::io::write(std::io::stdout(), b"started\n").expect("the test listens");
    running.ended.await;
}
