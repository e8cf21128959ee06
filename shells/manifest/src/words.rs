//! Parts of a pod's spec in words, as `kubectl describe` has them.
//!
//! Never a value of a Secret: only the names of those that give one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
    Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use outrigger_config::listing;

/// Lines of `name: value` pairs of one container, in the order in which people look for them.
pub fn container(container: &Container) -> Vec<(&'static str, Vec<String>)> {
    let mut lines = Vec::new();
    let mut add = |name: &'static str, values: Vec<String>| {
        if !values.is_empty() {
            lines.push((name, values));
        }
    };
    add("Image", container.image.iter().cloned().collect());
    add("Command", container.command.iter().filter(|words| !words.is_empty()).map(|words| shell(words)).collect());
    add("Args", container.args.iter().filter(|words| !words.is_empty()).map(|words| shell(words)).collect());
    add("Working dir", container.working_dir.iter().cloned().collect());
    add(
        "Ports",
        container
            .ports
            .iter()
            .flatten()
            .map(|port| format!("{}/{}", port.container_port, port.protocol.as_deref().unwrap_or("TCP")))
            .collect(),
    );
    let resources = container.resources.clone().unwrap_or_default();
    add("Limits", resources.limits.as_ref().map(quantities).into_iter().flatten().collect());
    add("Requests", resources.requests.as_ref().map(quantities).into_iter().flatten().collect());
    add("Startup", container.startup_probe.iter().map(probe).collect());
    add("Readiness", container.readiness_probe.iter().map(probe).collect());
    add("Liveness", container.liveness_probe.iter().map(probe).collect());
    let hooks = container.lifecycle.clone().unwrap_or_default();
    add("After start", hooks.post_start.iter().map(hook).collect());
    add("Before stop", hooks.pre_stop.iter().map(hook).collect());
    add("Environment from", container.env_from.iter().flatten().map(env_from).collect());
    add("Environment", container.env.iter().flatten().map(env).collect());
    add("Mounts", container.volume_mounts.iter().flatten().map(mount).collect());
    lines
}

/// Words as a shell would need them.
pub fn shell(words: &[String]) -> String {
    let quoted = words.iter().map(|word| match word {
        word if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c)) => {
            word.clone()
        }
        word => format!("'{}'", word.replace('\'', r"'\''").replace('\n', "\u{23ce}")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn quantities(of: &BTreeMap<String, Quantity>) -> Vec<String> {
    of.iter().map(|(name, quantity)| format!("{name}: {}", quantity.0)).collect()
}

fn env(variable: &EnvVar) -> String {
    let name = &variable.name;
    let Some(from) = &variable.value_from else {
        return format!("{name}: {}", variable.value.as_deref().unwrap_or_default());
    };
    let source = if let Some(key) = &from.config_map_key_ref {
        format!("key {} of ConfigMap {}{}", key.key, key.name, optional(key.optional))
    } else if let Some(key) = &from.secret_key_ref {
        format!("key {} of Secret {}{}", key.key, key.name, optional(key.optional))
    } else if let Some(field) = &from.field_ref {
        format!("field {}", field.field_path)
    } else if let Some(field) = &from.resource_field_ref {
        let of = field.container_name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
        format!("resource {}{of}", field.resource)
    } else {
        "another source".to_owned()
    };
    format!("{name}: <{source}>")
}

fn env_from(source: &EnvFromSource) -> String {
    let prefix = source.prefix.as_ref().map(|prefix| format!(", prefix {prefix}")).unwrap_or_default();
    let object = match (&source.config_map_ref, &source.secret_ref) {
        (Some(map), _) => format!("ConfigMap {}{}", map.name, optional(map.optional)),
        (_, Some(secret)) => format!("Secret {}{}", secret.name, optional(secret.optional)),
        _ => "nothing".to_owned(),
    };
    format!("{object}{prefix}")
}

fn mount(mount: &VolumeMount) -> String {
    let mode = if mount.read_only == Some(true) { "ro" } else { "rw" };
    let below = mount.sub_path.as_ref().or(mount.sub_path_expr.as_ref());
    let below = below.map(|path| format!(", path {path}")).unwrap_or_default();
    format!("{} from {} ({mode}{below})", mount.mount_path, mount.name)
}

/// What a volume holds.
pub fn volume(volume: &Volume) -> String {
    if let Some(empty) = &volume.empty_dir {
        let place = if empty.medium.as_deref() == Some("Memory") { " in memory" } else { "" };
        let limit = empty.size_limit.as_ref().map(|limit| format!(", at most {}", limit.0)).unwrap_or_default();
        format!("empty directory{place}{limit}")
    } else if let Some(map) = &volume.config_map {
        format!("ConfigMap {}{}", map.name, optional(map.optional))
    } else if let Some(secret) = &volume.secret {
        format!("Secret {}{}", secret.secret_name.as_deref().unwrap_or_default(), optional(secret.optional))
    } else if let Some(path) = &volume.host_path {
        let kind = path.type_.as_deref().filter(|kind| !kind.is_empty());
        format!("path {} of this machine{}", path.path, kind.map(|kind| format!(" ({kind})")).unwrap_or_default())
    } else if let Some(claim) = &volume.persistent_volume_claim {
        format!("claim {}", claim.claim_name)
    } else if volume.downward_api.is_some() {
        "fields of the pod".to_owned()
    } else if let Some(projected) = &volume.projected {
        let sources: Vec<_> = projected.sources.iter().flatten().map(projection).collect();
        format!("projected: {}", listing(&sources))
    } else {
        "another source".to_owned()
    }
}

fn projection(source: &VolumeProjection) -> String {
    if let Some(map) = &source.config_map {
        format!("ConfigMap {}{}", map.name, optional(map.optional))
    } else if let Some(secret) = &source.secret {
        format!("Secret {}{}", secret.name, optional(secret.optional))
    } else if source.downward_api.is_some() {
        "fields of the pod".to_owned()
    } else if source.service_account_token.is_some() {
        "a token".to_owned()
    } else {
        "a trust bundle".to_owned()
    }
}

fn optional(optional: Option<bool>) -> &'static str {
    if optional == Some(true) { " (optional)" } else { "" }
}

fn probe(probe: &Probe) -> String {
    let handler = LifecycleHandler {
        exec: probe.exec.clone(),
        http_get: probe.http_get.clone(),
        tcp_socket: probe.tcp_socket.clone(),
        sleep: None,
    };
    let asks = probe.grpc.as_ref().map_or_else(|| hook(&handler), grpc);
    let or = |value: Option<i32>, default: i32| value.filter(|value| *value != 0).unwrap_or(default);
    format!(
        "{asks} delay={}s timeout={}s period={}s #success={} #failure={}",
        or(probe.initial_delay_seconds, 0),
        or(probe.timeout_seconds, 1),
        or(probe.period_seconds, 10),
        or(probe.success_threshold, 1),
        or(probe.failure_threshold, 3),
    )
}

fn hook(handler: &LifecycleHandler) -> String {
    match handler {
        LifecycleHandler { exec: Some(ExecAction { command }), .. } => {
            format!("exec [{}]", shell(command.as_deref().unwrap_or_default()))
        }
        LifecycleHandler { http_get: Some(get), .. } => http(get),
        LifecycleHandler { tcp_socket: Some(TCPSocketAction { host, port }), .. } => {
            format!("tcp-socket {}:{}", host.as_deref().unwrap_or_default(), number(port))
        }
        LifecycleHandler { sleep: Some(sleep), .. } => format!("sleep {}s", sleep.seconds),
        _ => "nothing".to_owned(),
    }
}

fn http(get: &HTTPGetAction) -> String {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let host = get.host.as_deref().unwrap_or_default();
    format!("http-get {scheme}://{host}:{}{}", number(&get.port), get.path.as_deref().unwrap_or("/"))
}

fn grpc(call: &GRPCAction) -> String {
    format!("grpc :{} {}", call.port, call.service.as_deref().unwrap_or_default()).trim_end().to_owned()
}

fn number(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_told_as_kubectl_tells_it() {
        let it: Container = serde_json::from_value(json!({
            "name": "app", "command": ["sh", "-c", "echo it's"], "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "livenessProbe": {"httpGet": {"port": "web", "path": "/ok"}, "periodSeconds": 3},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true, "subPath": "x"}],
        }))
        .unwrap();
        let told: Vec<_> =
            container(&it).into_iter().map(|(name, values)| format!("{name}: {}", values.join("; "))).collect();
        assert_eq!(
            told,
            [
                r"Command: sh -c 'echo it'\''s'",
                "Ports: 80/TCP",
                "Liveness: http-get http://:web/ok delay=0s timeout=1s period=3s #success=1 #failure=3",
                "Environment: A: 1; S: <key k of Secret s>",
                "Mounts: /v from v (ro, path x)",
            ]
        );
    }

    #[test]
    fn volumes_are_told_by_their_source() {
        for (source, told) in [
            (json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}), "empty directory in memory, at most 1Mi"),
            (json!({"secret": {"secretName": "s", "optional": true}}), "Secret s (optional)"),
            (
                json!({"projected": {"sources": [{"configMap": {"name": "c"}}, {"serviceAccountToken": {"path": "t"}}]}}),
                "projected: ConfigMap c and a token",
            ),
        ] {
            let mut object = source;
            object["name"] = json!("v");
            assert_eq!(volume(&serde_json::from_value(object).unwrap()), told);
        }
    }
}
