//! Reads the list of one plugin: `client.go`'s `Connect` and `Run`.

use std::path::Path;
use std::time::Duration;

use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{DevicePluginOptions, Empty};
use outrigger_kubelet_api::{Channel, MAX_MESSAGE, Response};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::state::{Manager, size};

/// How long the kubelet tries to dial a plugin, inside `Register`.
pub(crate) const DIAL: Duration = Duration::from_secs(10);

/// Dials as grpc-go does with `WithBlock`: again and again until the limit.
pub(crate) async fn dial(socket: &Path, authority: &str) -> Result<DevicePluginClient<Channel>, String> {
    let deadline = Instant::now() + DIAL;
    let mut delay = Duration::from_secs(1);
    loop {
        let problem = match timeout_at(deadline, Channel::connect(socket, authority)).await {
            Ok(Ok(channel)) => return Ok(DevicePluginClient::new(channel).max_decoding_message_size(MAX_MESSAGE)),
            Ok(Err(problem)) => problem.to_string(),
            Err(_) => "deadline exceeded".to_owned(),
        };
        if Instant::now() + delay >= deadline {
            tokio::time::sleep_until(deadline).await;
            return Err(format!("failed to dial device plugin: {problem}"));
        }
        sleep(delay).await;
        delay = delay.mul_f32(1.6);
    }
}

/// Asks for the options; there is no limit to how long it may take.
pub(crate) async fn options(plugin: &mut DevicePluginClient<Channel>) -> Result<DevicePluginOptions, String> {
    let answer = plugin.get_device_plugin_options(Empty {}).await;
    answer.map(Response::into_inner).map_err(|status| format!("failed to get device plugin options: {status}"))
}

/// Reads lists until the stream ends, whenever `reading` says so; returns why it ended.
pub(crate) async fn read(
    mut plugin: DevicePluginClient<Channel>,
    resource: &str,
    manager: &Manager,
    mut reading: watch::Receiver<bool>,
    listed: impl Fn(),
) -> String {
    let mut lists = match plugin.list_and_watch(Empty {}).await {
        Ok(lists) => lists.into_inner(),
        Err(status) => return status.to_string(),
    };
    loop {
        if reading.wait_for(|reading| *reading).await.is_err() {
            return "the kubelet has ended".to_owned();
        }
        match lists.message().await {
            Ok(Some(list)) => {
                let bytes = size(&list);
                manager.listed(resource, list.devices, bytes);
                listed();
            }
            Ok(None) => return "EOF".to_owned(),
            Err(status) => return status.to_string(),
        }
    }
}
