//! A virtual machine: a guest with a kernel and virtio drivers of its own, in QEMU.
//!
//! It is emulated (TCG), so that a machine without nested virtualisation runs the same tests; it boots in
//! some four seconds. Its memory is shared, as vhost-user needs it, and takes no hugepages. A machine
//! comes up with its NICs unconfigured; the test configures them by the commands of [`Shell`](crate::Shell),
//! which reach it by a serial port of their own and not by its network. Its console is a file, whose end
//! is printed when a test fails.
//!
//! QEMU runs where the lab's hosts run, and ends with the thread that started it at the latest.

pub use image::{Image, Recipe};
pub use nic::Nic;

mod channel;
mod image;
mod nic;

use crate::host::Proc;
use crate::lab::{Lab, on_all_cores};
use crate::shell::Shell;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use channel::{Channel, Silence};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a boot may take, on a machine that others use too.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long a command may take unless told otherwise.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    image: Image,
    memory_mb: u32,
    cores: u32,
    everywhere: bool,
    kernel_arguments: String,
    nics: Vec<Nic>,
    devices: Vec<String>,
}

impl Spec {
    /// A usual guest with one core and no NIC.
    pub fn new(name: &str) -> Self {
        Self::of_image(name, Recipe::guest().image())
    }

    /// A machine that boots `image`.
    pub fn of_image(name: &str, image: Image) -> Self {
        Self {
            name: name.to_owned(),
            image,
            memory_mb: 192,
            cores: 1,
            everywhere: false,
            kernel_arguments: String::new(),
            nics: Vec::new(),
            devices: Vec::new(),
        }
    }

    /// A virtio NIC on vhost-user; the first one is `eth0`.
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Memory in MB, instead of 192.
    pub fn memory(mut self, mb: u32) -> Self {
        self.memory_mb = mb;
        self
    }

    /// Cores, instead of one. A virtio NIC uses as many pairs of queues as there are cores.
    pub fn cores(mut self, count: u32) -> Self {
        self.cores = count;
        self
    }

    /// Lets it run on every core, and not only on those of the lab's hosts: for a machine that has the
    /// appliance inside.
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Further words of the kernel's command line.
    pub fn kernel_arguments(mut self, words: &str) -> Self {
        self.kernel_arguments = words.to_owned();
        self
    }

    /// Any further arguments of QEMU, separated by white space.
    pub fn devices(mut self, arguments: &str) -> Self {
        self.devices.extend(arguments.split_whitespace().map(str::to_owned));
        self
    }

    fn arguments(&self) -> Vec<String> {
        let memory = self.memory_mb;
        // A small cache of translated code: a reboot writes over what the last boot's kernel left in it,
        // which is slow (five seconds became over thirty).
        let fixed = format!(
            "-accel tcg,tb-size=48 -M q35,memory-backend=memory -cpu max -smp {} -m {memory}M \
             -object memory-backend-memfd,id=memory,size={memory}M,share=on \
             -nodefaults -no-user-config -display none -kernel {} -initrd {}",
            self.cores,
            self.image.kernel.display(),
            self.image.initramfs.display(),
        );
        let mut all: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
        // A kernel that is stuck shows on the console; it must not come up again by itself.
        let words =
            format!("console=ttyS0 quiet panic=0 mitigations=off {}", self.kernel_arguments);
        all.extend(["-append".to_owned(), words]);
        all.extend(self.nics.iter().enumerate().flat_map(|(i, nic)| nic.arguments(i)));
        all.extend(self.devices.iter().cloned());
        all
    }
}

/// A machine, running or killed.
#[derive(Debug)]
pub struct Vm {
    spec: Spec,
    /// Where its console, its serial port and QEMU's own words go; the name is its prefix there.
    dir: PathBuf,
    qemu: Option<Proc>,
    channel: Mutex<Option<Channel>>,
    jobs: Mutex<u32>,
}

/// A command left running in a machine.
#[derive(Clone, Copy, Debug)]
pub struct Job(u32);

impl Vm {
    /// Starts a machine and waits until it has booted. What its NICs connect to must be there.
    #[track_caller]
    pub fn start(lab: &Lab, spec: Spec) -> Self {
        let mut vm = Self::launch(lab, spec);
        vm.booted();
        vm
    }

    /// Starts a machine and comes back at once. QEMU waits with the boot until somebody has connected
    /// to each NIC that listens; [`Vm::booted`] is then for the caller to ask.
    #[track_caller]
    pub fn launch(lab: &Lab, spec: Spec) -> Self {
        let mut vm = Self {
            spec,
            dir: lab.dir().to_owned(),
            qemu: None,
            channel: Mutex::new(None),
            jobs: Mutex::new(0),
        };
        vm.relaunch();
        vm
    }

    /// Starts it again after [`Vm::kill`], and comes back at once.
    #[track_caller]
    pub fn relaunch(&mut self) {
        assert!(self.qemu.is_none(), "already running");
        let port = self.file("port");
        // From an earlier start.
        let _ = std::fs::remove_file(&port);
        let listener = UnixListener::bind(&port).expect("the machine's serial port");
        let open =
            |name| File::options().create(true).append(true).open(self.file(name)).expect(name);
        // Before what else runs on the machine, behind the appliance.
        let mut command = Command::new("nice");
        command
            .args(["-n", "-10", "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(self.spec.arguments())
            .arg("-chardev")
            .arg(format!("file,id=console,append=on,path={}", self.file("console").display()))
            .args(["-serial", "chardev:console", "-chardev"])
            .arg(format!("socket,id=port,path={}", port.display()))
            .args(["-serial", "chardev:port"])
            .stdin(Stdio::null())
            .stdout(open("log"))
            .stderr(open("log"));
        let mut start = || Proc::start(&mut command);
        self.qemu = Some(if self.spec.everywhere { on_all_cores(start) } else { start() });
        *self.channel() = Some(Channel::new(self.accept(&listener)));
    }

    /// QEMU connects to the serial port as one of the first things that it does.
    #[track_caller]
    fn accept(&mut self, listener: &UnixListener) -> UnixStream {
        listener.set_nonblocking(true).expect("a listener that does not block");
        let end = Instant::now() + BOOT_LIMIT;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a stream that blocks");
                    return stream;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => panic!("{}: the serial port: {e}", self.spec.name),
            }
            assert!(self.is_running(), "{}: QEMU has ended: {}", self.spec.name, self.log());
            assert!(
                Instant::now() < end,
                "{}: QEMU does not start: {}",
                self.spec.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a launched machine has booted.
    #[track_caller]
    pub fn booted(&mut self) {
        let ready = self.with_channel(|channel| channel.ready(BOOT_LIMIT));
        if let Err(silence) = ready {
            panic!("{}: no boot: {silence:?}: {}", self.spec.name, self.log());
        }
    }

    /// SIGKILL to QEMU, as if the host's OOM killer had come.
    pub fn kill(&mut self) {
        self.qemu = None;
        *self.channel() = None;
    }

    /// Starts it again after [`Vm::kill`], as it was at first, and waits until it has booted.
    #[track_caller]
    pub fn restart(&mut self) {
        self.relaunch();
        self.booted();
    }

    /// The guest's own reboot, at once and with nothing said to its devices; returns when it is up
    /// again. QEMU goes on.
    #[track_caller]
    pub fn reboot(&mut self) {
        let sent = self.with_channel(|channel| channel.send("reboot -f", COMMAND_LIMIT));
        assert!(sent.is_ok(), "{}: not running", self.spec.name);
        self.booted();
    }

    /// Whether QEMU runs.
    pub fn is_running(&mut self) -> bool {
        self.qemu.as_mut().is_some_and(Proc::is_running)
    }

    /// Sends QEMU a signal: SIGSTOP makes a guest that doesn't serve its queues.
    pub fn signal(&mut self, signal: Signal) {
        self.qemu.as_mut().expect("running").signal(signal);
    }

    /// As [`Shell::output`], with `limit` instead of a minute; what runs longer is killed and has the
    /// exit code 137.
    #[track_caller]
    pub fn output_within(&self, limit: Duration, line: &str) -> Output {
        match self.with_channel(|channel| channel.run(line, limit)) {
            Ok(output) => output,
            Err(silence) => panic!("{}: {line}: no answer: {silence:?}", self.spec.name),
        }
    }

    /// Starts a line and leaves it running, in a session of its own.
    #[track_caller]
    pub fn spawn(&self, line: &str) -> Job {
        let number = {
            let mut jobs = self.jobs.lock().unwrap_or_else(|e| e.into_inner());
            *jobs += 1;
            *jobs
        };
        let dir = format!("/tmp/jobs/{number}");
        self.run(&format!("mkdir -p {dir}"));
        self.write(&format!("{dir}/line"), line);
        self.run(&format!(
            "cd {dir}; setsid /usr/bin/sh -c 'sh line >stdout 2>stderr; echo $? >status' \
             </dev/null >/dev/null 2>&1 & echo $! >{dir}/pid"
        ));
        Job(number)
    }

    /// Whether it still runs.
    #[track_caller]
    pub fn runs(&self, job: Job) -> bool {
        !self.succeeds(&format!("test -e /tmp/jobs/{}/status", job.0))
    }

    /// Waits for a job and takes its output.
    #[track_caller]
    pub fn finish(&self, job: Job, limit: Duration) -> Output {
        assert!(
            crate::within(limit, || !self.runs(job)),
            "{}: job {} does not end",
            self.spec.name,
            job.0
        );
        self.output(&format!(
            "cd /tmp/jobs/{}; cat stdout; cat stderr >&2; exit $(cat status)",
            job.0
        ))
    }

    /// Ends a job, and what it has started, by SIGKILL.
    #[track_caller]
    pub fn end(&self, job: Job) {
        let killed = "kill -s KILL -- -$(cat pid) && echo 137 >status";
        self.output(&format!("cd /tmp/jobs/{}; test -e status || {{ {killed}; }}", job.0));
    }

    /// Writes a file in the machine.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        // The serial port's line buffer takes some 4 KB at a time.
        self.run(&format!(": >{path}"));
        for piece in content.as_ref().chunks(2_400) {
            let code = BASE64_STANDARD.encode(piece);
            self.run(&format!("echo {code} | base64 -d >>{path}"));
        }
    }

    /// Takes the driver off a NIC, whose interface vanishes; the device's name, for [`Vm::bind`].
    #[track_caller]
    pub fn unbind(&self, iface: &str) -> String {
        let device = self.run(&format!("basename $(readlink /sys/class/net/{iface}/device)"));
        let device = device.trim().to_owned();
        self.run(&format!("echo {device} >/sys/bus/virtio/drivers/virtio_net/unbind"));
        device
    }

    /// Gives a device its driver back.
    #[track_caller]
    pub fn bind(&self, device: &str) {
        self.run(&format!("echo {device} >/sys/bus/virtio/drivers/virtio_net/bind"));
    }

    /// Everything that its kernel and its first process have printed, over all its starts.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.file("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What QEMU itself has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.spec.name))
    }

    fn channel(&self) -> std::sync::MutexGuard<'_, Option<Channel>> {
        // A poisoned one is as good as before: who held it said why.
        self.channel.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn with_channel<T>(
        &self,
        work: impl FnOnce(&mut Channel) -> Result<T, Silence>,
    ) -> Result<T, Silence> {
        self.channel().as_mut().map_or(Err(Silence::Closed), work)
    }
}

impl Shell for Vm {
    fn name(&self) -> &str {
        &self.spec.name
    }

    /// The line is a shell's there, so pipes and redirections work.
    fn output(&self, line: &str) -> Output {
        self.output_within(COMMAND_LIMIT, line)
    }
}

/// A machine's commands are called on the machine itself.
impl Deref for Vm {
    type Target = dyn Shell;

    fn deref(&self) -> &Self::Target {
        self
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = self.console();
            let lines: Vec<_> = console.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!(
                "--- the end of {}'s console\n{tail}\n--- QEMU said\n{}",
                self.name(),
                self.log()
            );
        }
    }
}
