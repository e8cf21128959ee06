//! A device plugin that leaves its devices to the container runtime: it answers with their CDI names and nothing else. What a
//! name means stands in a file that the test writes, or does not write.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use outrigger_e2e::fixture::Fixture;
use outrigger_kubelet_api::device_plugin::{CdiDevice, ContainerAllocateResponse};

/// Offers names and gives them.
#[derive(Parser)]
struct Named {
    /// The kubelet's directory for device plugins
    directory: PathBuf,
    /// The name of the resource, and the kind of the names
    resource: String,
    /// The names: what stands behind `example.com/thing=`
    #[arg(required = true)]
    names: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Named { directory, resource, names: ids } = Named::parse();
    let kind = resource.clone();
    let answer = move |chosen: &[String]| {
        let cdi_devices = chosen.iter().map(|name| CdiDevice { name: format!("{kind}={name}") }).collect();
        ContainerAllocateResponse { cdi_devices, ..Default::default() }
    };
    Fixture { directory, resource, ids, answer }.run().await
}
