//! What many restarts leave behind: nothing. Alone in its process, since it counts descriptors.

mod harness;

use std::fs;

use harness::{DISK, Node};
use outrigger_device_plugin::ResourceState;
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// Descriptors of the process and tasks of the runtime, once all is quiet.
async fn held() -> (usize, usize) {
    for _ in 0..100 {
        yield_now().await;
    }
    (fs::read_dir("/proc/self/fd").expect("it is there").count(), Handle::current().metrics().num_alive_tasks())
}

/// T04, and GDP's fault G3: each registration left a task behind.
#[tokio::test(start_paused = true)]
async fn g03_restarts_and_overlaps_leave_no_task_and_no_descriptor_behind() {
    let mut node = Node::with(|options| options.overlap_bug = true).await;
    let instance = node.instance();
    let _lists = instance.serve(DISK, 3).await;
    let mut at_first = None;
    for _ in 0..200 {
        node.kubelet.restart().await.unwrap();
        node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
        instance.until(DISK, ResourceState::is_ready).await;
        node.kubelet.close_streams(DISK);
        node.kubelet.until(|view| view.allocatable(DISK) == 0 || view.resources[DISK].streams == 0).await;
        node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
        instance.until(DISK, ResourceState::is_ready).await;
        at_first.get_or_insert(held().await);
    }
    assert_eq!(Some(held().await), at_first);
    assert_eq!(node.sockets().len(), 1);
}
