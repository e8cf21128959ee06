//! The names of the programs that this one replaces: called by one of them, it behaves as that program, so that an old
//! manifest works when only its image line is changed.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A program's own main function: its arguments without its name in, its exit code out.
type Main = fn(&[OsString]) -> ExitCode;

/// The names, by the last part of the path that a manifest or an image's entry point calls.
const NAMES: &[(&str, Main)] = &[
    // squat/generic-device-plugin: `/generic-device-plugin`.
    ("generic-device-plugin", outrigger_devices::as_generic_device_plugin),
    // kairen/simple-device-plugin: `/bin/device-plugin`.
    ("device-plugin", outrigger_devices::as_device_plugin),
];

/// Runs as the program by whose name this process was called; nothing where that is our own.
pub fn dispatch() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let called = words.next()?;
    let name = Path::new(&called).file_name()?;
    let (_, main) = NAMES.iter().find(|(known, _)| name == *known)?;
    Some(main(&words.collect::<Vec<_>>()))
}
