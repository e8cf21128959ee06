//! `dnsPolicy`, `dnsConfig` and `hostAliases`: what `/etc/resolv.conf` and `/etc/hosts` of a container hold.

use std::fs;

use serde_json::json;

use crate::site::{Site, USERS, spec, with};

#[test]
fn resolv_conf_is_the_machines_unless_the_pod_says_otherwise() {
    let machine = fs::read_to_string("/etc/resolv.conf").unwrap();
    for user in USERS {
        let site = Site::of(user);
        for policy in ["Default", "ClusterFirst"] {
            let seen = site.message(&with(spec("cat /etc/resolv.conf"), json!({"dnsPolicy": policy})));
            assert_eq!(seen, machine, "user {user}, {policy}");
        }
        let config = json!({
            "nameservers": ["192.0.2.1", "192.0.2.2"],
            "searches": ["a.example", "b.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        });
        let seen = site.message(&with(spec("cat /etc/resolv.conf"), json!({"dnsPolicy": "None", "dnsConfig": config})));
        let expected =
            "search a.example b.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2 edns0\n";
        assert_eq!(seen, expected, "user {user}");
        assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), machine, "the machine's own stays");
    }
}

#[test]
fn dns_config_is_added_to_the_machines() {
    let site = Site::of(0);
    let config = json!({"nameservers": ["192.0.2.9"], "searches": ["more.example"]});
    let seen = site.message(&with(spec("cat /etc/resolv.conf"), json!({"dnsPolicy": "Default", "dnsConfig": config})));
    let machine = fs::read_to_string("/etc/resolv.conf").unwrap();
    for server in machine.lines().filter(|line| line.starts_with("nameserver")) {
        assert!(seen.lines().any(|line| line == server), "{server} is not in {seen}");
    }
    assert!(seen.lines().any(|line| line == "nameserver 192.0.2.9"), "{seen}");
    assert!(seen.lines().any(|line| line.starts_with("search") && line.ends_with("more.example")), "{seen}");
}

/// Tried with `/etc/hosts` left as the machine's.
#[test]
fn host_aliases_are_in_etc_hosts_and_resolve() {
    let machine = fs::read_to_string("/etc/hosts").unwrap();
    for user in USERS {
        let site = Site::of(user);
        let aliases = json!([{"ip": "192.0.2.7", "hostnames": ["one.example", "one"]}, {"ip": "192.0.2.8", "hostnames": ["two"]}]);
        let spec = with(
            spec("cat /etc/hosts; getent hosts one; hostname"),
            json!({"hostAliases": aliases, "hostname": "named"}),
        );
        let seen = site.message(&spec);
        assert!(seen.contains("\n192.0.2.7\tone.example\tone\n192.0.2.8\ttwo\n"), "user {user}: {seen}");
        assert!(seen.contains("\tnamed\n"), "user {user}: {seen}");
        assert!(seen.lines().any(|line| line.starts_with("192.0.2.7 ")), "getent: {seen}");
        assert!(seen.ends_with("\nnamed\n"), "user {user}: {seen}");
        assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), machine, "the machine's own stays");
    }
}
