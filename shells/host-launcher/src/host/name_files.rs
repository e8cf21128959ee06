//! The container's `/etc/hosts` and `/etc/resolv.conf`, as a kubelet writes them. Text in, text out.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodSpec};

/// The text of `/etc/hosts`: with `hostNetwork` the machine's own, else one that knows only the pod; then `hostAliases`
/// (`pkg/kubelet/kubelet_pods.go`, `nodeHostsFileContent`, `managedHostsFileContent`).
pub fn hosts(spec: &PodSpec, hostname: &str, addresses: &[IpAddr], machine: &str) -> String {
    let mut text = if spec.host_network == Some(true) {
        format!("# Kubernetes-managed hosts file (host network).\n{machine}")
    } else {
        of_pod(spec.subdomain.as_deref(), hostname, addresses)
    };
    let aliases: &[HostAlias] = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

fn of_pod(subdomain: Option<&str>, hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    for address in addresses {
        // Writing to a text cannot fail.
        let _ = match subdomain.filter(|subdomain| !subdomain.is_empty()) {
            Some(subdomain) => writeln!(text, "{address}\t{hostname}.{subdomain}\t{hostname}"),
            None => writeln!(text, "{address}\t{hostname}"),
        };
    }
    text
}

/// The text of `/etc/resolv.conf`, or `None` where the machine's own is right: always, but with `dnsPolicy: None` or a
/// `dnsConfig` (`pkg/kubelet/network/dns/dns.go`, `GetPodDNS`; without a cluster `ClusterFirst` falls back to `Default`).
pub fn resolv_conf(spec: &PodSpec, machine: &str) -> Option<String> {
    let is_none = spec.dns_policy.as_deref() == Some("None");
    if !is_none && spec.dns_config.is_none() {
        return None;
    }
    let mut settings = if is_none { Settings::default() } else { Settings::read(machine) };
    if let Some(config) = &spec.dns_config {
        settings.add(config);
    }
    Some(settings.text())
}

/// What a `resolv.conf` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Settings {
    /// As `parseResolvConf` in `pkg/kubelet/network/dns/dns.go`: the last `search` and `options` count.
    fn read(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next() else { continue };
            let words: Vec<String> = words.map(str::to_owned).collect();
            match keyword {
                "nameserver" => settings.servers.extend(words.into_iter().take(1)),
                "search" => settings.searches = words.iter().map(|name| trimmed(name)).collect(),
                "options" => settings.options = words,
                _ => {}
            }
        }
        settings
    }

    /// `appendDNSConfig` and `mergeDNSOptions`, with the options in a stable order.
    fn add(&mut self, config: &PodDNSConfig) {
        let add = |all: &mut Vec<String>, new: &Option<Vec<String>>| {
            for one in new.iter().flatten() {
                if !all.contains(one) {
                    all.push(one.clone());
                }
            }
        };
        add(&mut self.servers, &config.nameservers);
        add(&mut self.searches, &config.searches);
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            self.options.retain(|known| known.split(':').next() != Some(&name));
            match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => self.options.push(format!("{name}:{value}")),
                None => self.options.push(name),
            }
        }
    }

    /// Within the limits of `formDNSConfigFitsLimits`: 3 servers, 32 search domains.
    fn text(&self) -> String {
        let mut text = String::new();
        let searches: Vec<&str> = self.searches.iter().take(32).map(String::as_str).collect();
        if !searches.is_empty() {
            text.push_str(&format!("search {}\n", searches.join(" ")));
        }
        for server in self.servers.iter().take(3) {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// A search domain without its closing dot; the dot alone stays.
fn trimmed(name: &str) -> String {
    if name == "." { name.to_owned() } else { name.trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodDNSConfigOption;

    use super::*;

    #[test]
    fn a_pod_knows_itself_and_its_aliases() {
        let spec = PodSpec {
            host_aliases: Some(vec![HostAlias {
                ip: "10.0.0.9".into(),
                hostnames: Some(vec!["a".into(), "b".into()]),
            }]),
            ..PodSpec::default()
        };
        let text = hosts(&spec, "web", &["10.1.2.3".parse().unwrap()], "1.2.3.4 other\n");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("10.1.2.3\tweb\n\n# Entries added by HostAliases.\n10.0.0.9\ta\tb\n"), "{text}");
        let spec = PodSpec { subdomain: Some("db".into()), ..PodSpec::default() };
        assert!(hosts(&spec, "web", &["::2".parse().unwrap()], "").ends_with("::2\tweb.db\tweb\n"));
        let spec = PodSpec { host_network: Some(true), ..PodSpec::default() };
        assert_eq!(
            hosts(&spec, "web", &[], "1.2.3.4 other\n"),
            "# Kubernetes-managed hosts file (host network).\n1.2.3.4 other\n"
        );
    }

    #[test]
    fn names_are_resolved_as_the_pod_says() {
        let machine =
            "# comment\nnameserver 1.1.1.1\nsearch old.example\nsearch a.example. b.example\noptions ndots:2\n";
        assert_eq!(resolv_conf(&PodSpec::default(), machine), None);
        let config = PodDNSConfig {
            nameservers: Some(vec!["9.9.9.9".into(), "1.1.1.1".into()]),
            searches: Some(vec!["c.example".into()]),
            options: Some(vec![
                PodDNSConfigOption { name: Some("ndots".into()), value: Some("5".into()) },
                PodDNSConfigOption { name: Some("edns0".into()), value: None },
            ]),
        };
        let mut spec = PodSpec { dns_config: Some(config), ..PodSpec::default() };
        assert_eq!(
            resolv_conf(&spec, machine).unwrap(),
            "search a.example b.example c.example\nnameserver 1.1.1.1\nnameserver 9.9.9.9\noptions ndots:5 edns0\n"
        );
        spec.dns_policy = Some("None".into());
        assert_eq!(
            resolv_conf(&spec, machine).unwrap(),
            "search c.example\nnameserver 9.9.9.9\nnameserver 1.1.1.1\noptions ndots:5 edns0\n"
        );
    }
}
