//! A small virtual machine for what this machine's kernel lacks: cgroup v2, more CPUs, NUMA nodes.
//!
//! Debian's kernel with an initramfs of busybox and the given static executables, under qemu's plain emulation; a boot takes
//! seconds. Each executable lies inside at the path it has outside, so that paths built into a test stay true. The results
//! come over the serial line. What it does not do: no network, no disk, no modules.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::cache;

/// The package whose newest version is the kernel.
const KERNEL: &str = "linux-image-cloud-amd64";

/// How old a kernel may be.
const FRESH: Duration = Duration::from_secs(14 * 24 * 3600);

/// `cargo xtask vm`.
#[derive(clap::Subcommand, Debug)]
pub enum Args {
    /// Run a test executable in it and end with its exit code
    Run(RunArgs),
}

/// `cargo xtask vm run`.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// How many CPUs the machine has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub cpus: u32,
    /// Over how many NUMA nodes they are spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub numa: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 1536)]
    pub memory: u32,
    /// A further file or folder that the machine holds, at the same path
    #[arg(long = "with", value_name = "PATH")]
    pub with: Vec<PathBuf>,
    /// An environment variable of the test
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub environment: Vec<String>,
    /// The user the test runs as: root, tester or nobody
    #[arg(long, default_value = "root")]
    pub user: String,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 600)]
    pub timeout: u64,
    /// A static test executable, or PACKAGE:TEST for an integration test that is built first
    pub test: String,
    /// Arguments for the test
    #[arg(last = true)]
    pub args: Vec<String>,
}

/// Where the kernel lies.
fn kernel(cache: &Path) -> PathBuf {
    cache.join(format!("vm-{}", cache::key(&[KERNEL]))).join("vmlinuz")
}

/// Whether [`setup`] has run here.
pub fn is_ready(cache: &Path) -> bool {
    kernel(cache).exists() && Path::new("/usr/bin/qemu-system-x86_64").exists() && Path::new("/bin/busybox").exists()
}

/// Fetches the kernel unless a fresh one is there; it is unpacked into the cache and never installed.
pub fn setup(cache: &Path) -> Result<String> {
    let kernel = kernel(cache);
    if cache::is_fresh(&kernel, FRESH, SystemTime::now()) {
        return Ok(format!("kernel for the virtual machine: {} is fresh", kernel.display()));
    }
    let partial = cache.join("vm-partial");
    for old in cache::entries(cache, "vm-")? {
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove the old kernel {}", old.display()))?;
    }
    fs::create_dir_all(&partial)?;
    let package = newest_kernel()?;
    cache::run_quietly(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(&partial))?;
    cache::run_quietly(
        Command::new("sh").args(["-c", "dpkg-deb -x *.deb . && mv boot/vmlinuz-* vmlinuz"]).current_dir(&partial),
    )?;
    // `dpkg-deb` keeps the package's own time stamps; freshness counts from today.
    fs::write(partial.join("package"), format!("{package}\n"))?;
    fs::File::options().append(true).open(partial.join("vmlinuz"))?.set_modified(SystemTime::now())?;
    for heavy in ["lib", "usr", "boot"] {
        let _ = fs::remove_dir_all(partial.join(heavy));
    }
    let Some(home) = kernel.parent() else { bail!("the kernel's path has no folder") };
    fs::rename(&partial, home)?;
    Ok(format!("kernel for the virtual machine: unpacked {package}"))
}

fn newest_kernel() -> Result<String> {
    let output = Command::new("apt-cache").args(["depends", KERNEL]).output().context("cannot run apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    package.map(str::to_owned).with_context(|| format!("apt knows no {KERNEL}; run `apt-get update`"))
}

/// Boots a machine, runs the test in it, and answers its exit code.
pub fn run(cache: &Path, args: &RunArgs) -> Result<i32> {
    if !is_ready(cache) {
        bail!("the virtual machine's parts are missing; run `cargo xtask setup` (as root)");
    }
    let (test, programs) = match args.test.split_once(':') {
        Some((package, name)) => build_test(package, name)?,
        None => {
            (fs::canonicalize(&args.test).with_context(|| format!("no test executable {}", args.test))?, Vec::new())
        }
    };
    let folder = cache.join(format!("run-{}", std::process::id()));
    let args = RunArgs { with: [programs, args.with.clone()].concat(), ..args.clone() };
    let result = boot(cache, &args, &test, &folder);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn boot(cache: &Path, args: &RunArgs, test: &Path, folder: &Path) -> Result<i32> {
    let tree = folder.join("tree");
    lay_out(&tree, args, test)?;
    let image = folder.join("initramfs");
    let pack = "find . -print0 | busybox tr '\\0' '\\n' | busybox cpio -o -H newc > \"$0\" 2>/dev/null";
    cache::run_quietly(Command::new("sh").args(["-c", pack]).arg(&image).current_dir(&tree))?;
    let mut machine = Command::new("qemu-system-x86_64")
        .args(machine_args(args))
        .arg("-kernel")
        .arg(kernel(cache))
        .arg("-initrd")
        .arg(&image)
        .args(["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let verdict = follow(&mut machine, Duration::from_secs(args.timeout));
    let _ = machine.kill();
    let _ = machine.wait();
    verdict
}

/// The machine's shape as qemu's arguments.
fn machine_args(args: &RunArgs) -> Vec<String> {
    let mut list: Vec<String> =
        ["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-accel", "tcg,thread=multi"]
            .map(str::to_owned)
            .to_vec();
    list.extend(["-cpu".into(), "max".into(), "-smp".into(), args.cpus.to_string()]);
    list.extend(["-m".into(), args.memory.to_string()]);
    if args.numa > 1 {
        let share = args.memory / args.numa;
        for node in 0..args.numa {
            let size = if node == 0 { args.memory - share * (args.numa - 1) } else { share };
            let cpus: Vec<String> = (0..args.cpus)
                .filter(|cpu| cpu * args.numa / args.cpus == node)
                .map(|cpu| format!(",cpus={cpu}"))
                .collect();
            list.extend(["-object".into(), format!("memory-backend-ram,id=memory{node},size={size}M")]);
            list.extend(["-numa".into(), format!("node,nodeid={node},memdev=memory{node}{}", cpus.concat())]);
        }
    }
    list
}

fn lay_out(tree: &Path, args: &RunArgs, test: &Path) -> Result<()> {
    for folder in ["bin", "etc", "tests"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/sh"))?;
    write_script(&tree.join("init"), include_str!("vm-init.sh"))?;
    write_script(&tree.join("start"), include_str!("vm-start.sh"))?;
    fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/home/tester:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    fs::write(tree.join("etc/group"), "root:x:0:\ntester:x:1000:\nnogroup:x:65534:\n")?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::write(tree.join("etc/resolv.conf"), "")?;
    copy_at_same_path(tree, test)?;
    for more in &args.with {
        copy_at_same_path(tree, &fs::canonicalize(more).with_context(|| format!("no {}", more.display()))?)?;
    }
    let quoted: Vec<String> = args.args.iter().map(|arg| quote(arg)).collect();
    let command = format!("{} {}", quote(&test.to_string_lossy()), quoted.join(" "));
    let exports: String = args.environment.iter().map(|pair| format!("export {}\n", quote(pair))).collect();
    let name = test.file_name().map_or_else(|| "test".into(), |name| name.to_string_lossy().into_owned());
    let script = match args.user.as_str() {
        "root" => format!("{exports}exec {command}\n"),
        user => format!("{exports}cd /home/tester; exec su -s /bin/sh {user} -c {}\n", quote(&command)),
    };
    write_script(&tree.join("tests").join(name), &script)
}

fn copy_at_same_path(tree: &Path, path: &Path) -> Result<()> {
    let inside = tree.join(path.strip_prefix("/").unwrap_or(path));
    if let Some(folder) = inside.parent() {
        fs::create_dir_all(folder)?;
    }
    cache::run_quietly(Command::new("cp").args(["-aL", "--"]).arg(path).arg(&inside))
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    cache::make_executable(path)
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Shows what the machine says and answers the test's exit code.
fn follow(machine: &mut Child, limit: Duration) -> Result<i32> {
    let Some(output) = machine.stdout.take() else { bail!("qemu has no output") };
    let (lines, arriving) = mpsc::channel();
    std::thread::spawn(move || read_lines(output, &lines));
    let end = Instant::now() + limit;
    let (mut verdict, mut firmware) = (None, String::new());
    let mut started = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = match arriving.recv_timeout(left) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the virtual machine was not done after {} s", limit.as_secs())
            }
        };
        // Before our own first line the firmware talks, with control characters that spoil a terminal.
        let from = if started { Some(0) } else { line.find("vm: kernel") };
        let Some(from) = from else {
            firmware.push_str(&line);
            continue;
        };
        started = true;
        writeln!(std::io::stdout(), "{}", &line[from..])?;
        if let Some(rest) = line.strip_prefix("vm: end ") {
            verdict = rest.rsplit(' ').next().and_then(|code| code.parse().ok());
        }
    }
    if !started {
        bail!("the virtual machine did not start; it said: {}", firmware.escape_debug());
    }
    verdict.context("the virtual machine ended without a result")
}

fn read_lines(output: impl Read, lines: &mpsc::Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        if lines.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

/// Builds an integration test; answers where its executable lies, and the package's programs that it may start.
fn build_test(package: &str, name: &str) -> Result<(PathBuf, Vec<PathBuf>)> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--no-run", "--message-format=json", "--package", package, "--test", name])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{package}:{name} does not build");
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let test = said.lines().find_map(|line| executable(line, |target, is_test| is_test && target == name));
    let programs = said.lines().filter_map(|line| executable(line, |_, is_test| !is_test)).collect();
    Ok((test.with_context(|| format!("cargo built no test {name} in {package}"))?, programs))
}

/// The executable that a line of cargo's JSON tells of, if it is wanted: by its target's name and whether it is a test.
fn executable(line: &str, is_wanted: impl Fn(&str, bool) -> bool) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let executable = message["executable"].as_str()?;
    let is_test = message["profile"]["test"] == true;
    is_wanted(message["target"]["name"].as_str()?, is_test).then(|| PathBuf::from(executable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(cpus: u32, numa: u32) -> RunArgs {
        RunArgs {
            cpus,
            numa,
            memory: 1000,
            with: vec![],
            environment: vec![],
            user: "root".into(),
            timeout: 1,
            test: String::new(),
            args: vec![],
        }
    }

    #[test]
    fn cpus_and_memory_are_spread_over_the_nodes() {
        let list = machine_args(&args(4, 2)).join(" ");
        assert!(list.contains("node,nodeid=0,memdev=memory0,cpus=0,cpus=1"), "{list}");
        assert!(list.contains("node,nodeid=1,memdev=memory1,cpus=2,cpus=3"), "{list}");
        assert!(list.contains("id=memory1,size=500M"), "{list}");
    }

    #[test]
    fn one_node_needs_no_numa_arguments() {
        assert!(!machine_args(&args(2, 1)).join(" ").contains("numa"));
    }

    #[test]
    fn a_word_with_quotes_stays_one_word() {
        assert_eq!(quote("it's"), "'it'\\''s'");
    }
}
