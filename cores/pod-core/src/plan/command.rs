//! What a container runs, of what the manifest and its image say.

/// What an image names to run: `config.Entrypoint` and `config.Cmd` of its OCI configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
}

impl ImageCommand {
    /// The words that a container with this `command` and these `args` executes; `None` where nobody names any.
    ///
    /// A `command` takes the place of entry point *and* `Cmd`, `args` alone only that of `Cmd` (the table in "Define a
    /// Command and Arguments for a Container" of the Kubernetes documentation; containerd's
    /// `internal/cri/opts/spec_opts.go`, `WithProcessArgs`).
    ///
    /// ```
    /// use outrigger_pod_core::plan::ImageCommand;
    /// let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    /// let image = ImageCommand { entrypoint: words("/ep"), cmd: words("foo bar") };
    /// assert_eq!(image.with(&[], &words("zoo")), Some(words("/ep zoo")));
    /// ```
    pub fn with(&self, command: &[String], args: &[String]) -> Option<Vec<String>> {
        let entry = if command.is_empty() { &self.entrypoint } else { command };
        let rest = if command.is_empty() && args.is_empty() { &self.cmd } else { args };
        let words = [entry, rest].concat();
        (!words.is_empty()).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_overrides_its_image_as_the_documentation_says() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let table = [
            ("/ep-1", "foo bar", "", "", Some("/ep-1 foo bar")),
            ("/ep-1", "foo bar", "/ep-2", "", Some("/ep-2")),
            ("/ep-1", "foo bar", "", "zoo boo", Some("/ep-1 zoo boo")),
            ("/ep-1", "foo bar", "/ep-2", "zoo boo", Some("/ep-2 zoo boo")),
            ("", "sh", "", "", Some("sh")),
            ("", "sh", "", "ls -l", Some("ls -l")),
            ("/ep", "", "", "", Some("/ep")),
            ("", "", "", "", None),
        ];
        for (entrypoint, cmd, command, args, expected) in table {
            let image = ImageCommand { entrypoint: words(entrypoint), cmd: words(cmd) };
            assert_eq!(image.with(&words(command), &words(args)), expected.map(words), "{command} {args}");
        }
    }
}
