//! A device plugin that is wrong on purpose: it offers several disks and gives everybody the first, whatever ids the kubelet
//! has chosen, as the simple-device-plugin did with any free one. What shows that disks are shared must fail with it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use outrigger_e2e::fixture::Fixture;
use outrigger_kubelet_api::device_plugin::{ContainerAllocateResponse, DeviceSpec};

/// Offers disks and gives the first.
#[derive(Parser)]
struct Careless {
    /// The kubelet's directory for device plugins
    directory: PathBuf,
    /// The name of the resource
    resource: String,
    /// The disks that it offers
    #[arg(required = true)]
    disks: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Careless { directory, resource, disks } = Careless::parse();
    let ids = disks.iter().map(|disk| disk.replace('/', "-")).collect();
    let path = disks[0].clone();
    let first = DeviceSpec { container_path: path.clone(), host_path: path, permissions: "rw".into() };
    let answer = move |_: &[String]| ContainerAllocateResponse { devices: vec![first.clone()], ..Default::default() };
    Fixture { directory, resource, ids, answer }.run().await
}
