//! Names of resources and of kinds.

/// Whether it is an extended resource name: `IsExtendedResourceName` of Kubernetes' `pkg/apis/core/v1/helper/helpers.go`,
/// with its prefix in lower case as `IsQualifiedName` wants it.
pub fn is_resource_name(name: &str) -> bool {
    let Some((domain, rest)) = name.split_once('/') else { return false };
    // `requests.` is put before it, and the whole is a DNS subdomain of at most 253 bytes.
    let is_domain = !domain.is_empty() && domain.len() <= 244 && domain.split('.').all(is_label);
    is_domain && !name.contains("kubernetes.io/") && !name.starts_with("requests.") && is_name(rest)
}

/// A label of a DNS-1123 subdomain, of which only the whole has a length.
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 63 && name.bytes().all(inner) && outer(name.bytes().next()) && outer(name.bytes().last())
}

/// Whether it is a kind of the container device interface: `vendor/class`, each beginning with a letter and ending with a
/// letter or digit (`pkg/parser/parser.go` of its library).
pub fn is_cdi_kind(name: &str) -> bool {
    let is_part = |part: &str| is_name(part) && part.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    name.split_once('/').is_some_and(|(vendor, class)| {
        let vendor_is_good =
            vendor.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let begins_well = vendor.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        let ends_well = vendor.bytes().last().is_some_and(|last| last.is_ascii_alphanumeric());
        vendor_is_good && begins_well && ends_well && is_part(class)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        for good in ["kubedev.org/sata", "squat.ai/a", "x/Y_z.1", "devices.platform.example-company.internal/serial"] {
            assert!(is_resource_name(good), "{good}");
        }
        let long = format!("{}/x", "a".repeat(245));
        for bad in [
            "sata",
            "/sata",
            "a/",
            "a/b/c",
            "A.org/x",
            "a.org/-x",
            "kubernetes.io/x",
            "my.kubernetes.io/x",
            "requests.a/x",
            "a..b/x",
            &long,
        ] {
            assert!(!is_resource_name(bad), "{bad}");
        }
        assert!(is_resource_name(&format!("{}/{}", "a".repeat(244), "x".repeat(63))));
        assert!(!is_resource_name(&format!("a/{}", "x".repeat(64))));
    }

    #[test]
    fn kinds_begin_with_letters() {
        assert!(is_cdi_kind("example.com/modem"));
        for bad in ["example.com/4g-modem", "4g.example.com/modem", "example.com/", "modem"] {
            assert!(!is_cdi_kind(bad), "{bad}");
        }
    }
}
