//! What streams send: the present list, every change, the last state always, and never too much.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use harness::{DISK, Node, disks, resource};
use outrigger_device_plugin::{Device, DeviceList};
use outrigger_kubelet_api::MAX_MESSAGE;
use outrigger_stub_kubelet::Listed;
use tokio::time::{Instant, sleep};

/// G3: after each registration the old stream's task lived on, and could take the change that the living one needed.
#[tokio::test(start_paused = true)]
async fn g03_after_fifty_registrations_a_change_reaches_the_living_stream() {
    let mut node = Node::new().await;
    let instance = node.instance();
    let lists = instance.serve(DISK, 1).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 1).await;
    for _ in 0..50 {
        node.kubelet.restart().await.unwrap();
        node.kubelet.until(|view| view.allocatable(DISK) == 1).await;
    }
    let before = instance.state(DISK).lists_sent;
    lists.send_replace(Arc::new(disks(2)));
    let begun = Instant::now();
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(instance.state(DISK).lists_sent, before + 1, "one list for one stream");
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_few_lists_and_the_last_state_is_sent() {
    let node = Node::new().await;
    let instance = node.instance();
    let lists = instance.serve(DISK, 1).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 1).await;
    let before = node.kubelet.view().resources[DISK].lists;
    for count in 1..=1000 {
        lists.send_replace(Arc::new(disks(count % 50)));
        sleep(Duration::from_millis(1)).await;
    }
    lists.send_replace(Arc::new(disks(77)));
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 77).await;
    let sent = view.resources[DISK].lists - before;
    assert!((40..=60).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn the_same_list_again_is_not_sent() {
    let node = Node::new().await;
    let instance = node.instance();
    let lists = instance.serve(DISK, 5).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 5).await;
    for _ in 0..10 {
        lists.send_replace(Arc::new(disks(5)));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(node.kubelet.view().resources[DISK].lists, 1);
}

#[tokio::test(start_paused = true)]
async fn k08_health_goes_down_and_up_and_numa_nodes_are_told() {
    let node = Node::new().await;
    let instance = node.instance();
    let lists = instance.serve(DISK, 0).await;
    instance.until(DISK, |state| state.lists_sent == 1).await; // L01: also an empty list is sent.
    for (healthy, health) in [(true, "Healthy"), (false, "Unhealthy"), (true, "Healthy")] {
        let near = Device { id: "near".into(), healthy, numa: vec![0, 1] };
        let far = Device { id: "nowhere".into(), healthy, numa: vec![] };
        lists.send_replace(Arc::new(DeviceList::new(vec![near, far])));
        let expected = |numa| Listed { health: health.into(), numa };
        node.kubelet
            .until(|view| {
                let devices = &view.resources[DISK].devices;
                devices.get("near") == Some(&expected(Some(vec![0, 1])))
                    && devices.get("nowhere") == Some(&expected(None))
            })
            .await;
    }
}

/// A list above 4 MiB would take the whole resource from the node.
#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_4_mib_is_withheld_and_told() {
    let node = Node::new().await;
    let instance = node.instance();
    let id = |number: usize| format!("{number:040}");
    let list = |healthy| (0..80_000).map(|number| Device { id: id(number).into(), healthy, numa: vec![] }).collect();
    let lists = instance.serve(DISK, 0).await;
    lists.send_replace(Arc::new(list(true)));
    node.kubelet.until(|view| view.allocatable(DISK) == 76_260).await;
    let state = instance.state(DISK);
    assert_eq!((state.listed, state.withheld, state.list_bytes), (76_260, 3_740, 4_400_000));
    // All unhealthy at once: two bytes more for each, and the same devices.
    lists.send_replace(Arc::new(list(false)));
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 0).await;
    let shown = &view.resources[DISK];
    assert!(shown.devices.len() == 76_260 && shown.devices.contains_key(&id(76_259)));
    assert!(shown.largest <= MAX_MESSAGE && shown.ended == 0, "{} {:?}", shown.largest, shown.last_end);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_one_list_and_gets_the_last_one() {
    let node = Node::new().await;
    let instance = node.instance();
    let lists = instance.serve(DISK, 20_000).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 20_000).await;
    node.kubelet.read_lists(false);
    lists.send_replace(Arc::new(disks(20_001)));
    sleep(Duration::from_secs(1)).await;
    let before = instance.state(DISK).lists_sent;
    for count in 0..200 {
        lists.send_replace(Arc::new(disks(10_000 + count)));
        sleep(Duration::from_millis(50)).await;
    }
    let sent = instance.state(DISK).lists_sent - before;
    assert!(sent <= 2, "{sent} lists were made for a reader that does not read");
    node.kubelet.read_lists(true);
    node.kubelet.until(|view| view.allocatable(DISK) == 10_199).await;
}

/// Where a product has dropped its sender the last list stays, and new streams get it.
#[tokio::test(start_paused = true)]
async fn the_last_list_outlives_its_sender() {
    let mut node = Node::new().await;
    let instance = node.instance();
    let (lists, resource) = resource(DISK, 4);
    drop(lists);
    instance.plugin.put(resource).await.unwrap();
    node.kubelet.until(|view| view.allocatable(DISK) == 4).await;
    node.kubelet.restart().await.unwrap();
    node.kubelet.until(|view| view.allocatable(DISK) == 4).await;
}
