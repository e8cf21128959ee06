//! The network of a cluster: loopback and one bridge, in a network namespace without any other link.
//!
//! ```text
//! 127.0.0.0/8     components; the API server at 6443, where a port of the machine leads
//! 10.244.0.1      the node, on the bridge: kubelet, API server, DNS
//! 10.244.0.0/24   pods
//! 10.96.0.0/16    services
//! ```
//!
//! Nothing is routed beyond it, since there is nothing beyond it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The node's address.
pub const NODE: &str = "10.244.0.1";
/// Its pods.
pub const PODS: &str = "10.244.0.0/24";
/// The pods of all nodes.
pub const ALL_PODS: &str = "10.244.0.0/16";
/// The services.
pub const SERVICES: &str = "10.96.0.0/16";
/// The port of the API server.
pub const API_PORT: u16 = 6443;
/// The bridge.
pub const BRIDGE: &str = "pods0";

/// The bridge's address is given: a bridge that takes one from its ports changes it as pods come and go, and then pods lose
/// their gateway for seconds. The route to services keeps them on the bridge, where kube-proxy's rules meet them.
const LINKS: &str = "\
link set lo up
link add pods0 address 0a:58:0a:f4:00:01 type bridge
addr add 10.244.0.1/24 dev pods0
link set pods0 up
route add 10.96.0.0/16 dev pods0
";

/// Makes the links, in the network namespace of this process.
pub fn make() -> Result<()> {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot start ip")?;
    if let Some(mut input) = ip.stdin.take() {
        input.write_all(LINKS.as_bytes())?;
    }
    if !ip.wait()?.success() {
        bail!("ip could not make the cluster's network");
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot let pods reach each other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_are_those_that_components_are_told_of() {
        assert!(LINKS.contains(&format!("link add {BRIDGE} address")));
        assert!(LINKS.contains(&format!("addr add {NODE}/24 dev {BRIDGE}")));
        assert!(LINKS.contains(&format!("route add {SERVICES} dev {BRIDGE}")));
    }
}
