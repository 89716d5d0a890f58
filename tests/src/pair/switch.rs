//! What passes frames between two guests' sockets.

use super::{IPS, MACS, frames};
use crate::appliance::Appliance;
use crate::balance::{reasons, stats};
use crate::contest::{Ours, batch, config, process_id, signal};
use crate::dpdk::Role;
use crate::frames::{Mac, mac_text};
use crate::host::Proc;
use crate::lab::Lab;
use crate::ports::Rewrite;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the appliance may have dropped: more than a guest's ring could take.
const OVERLOAD: [&str; 1] = ["tx-full"];

/// How the appliance connects the two guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It routes between them.
    Routed,
    /// They are members of one virtual network.
    Bridged,
    /// It routes between the first, a guest, and the second, a host of the LAN at the other end of the
    /// uplink.
    Uplink,
}

/// What guests send by TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segments {
    /// Segments that fit the MTU, with checksums.
    Short,
    /// What a peer has to be asked for: long ones, without.
    Whole,
}

/// What passes frames between two guests' sockets.
#[derive(Debug)]
pub struct Switch {
    pid: Pid,
    ours: Option<Ours>,
    /// A peer's, for as long as it competes.
    _processes: Vec<Proc>,
    /// What the guests do with their sockets.
    pub role: Role,
    /// Whom each guest sends to.
    pub to: [Mac; 2],
    /// What becomes of what each guest sends.
    rewrites: [Rewrite; 2],
    commands: Vec<String>,
}

impl Switch {
    /// A peer, whose first process forwards, and by guests' MACs.
    pub fn peer(
        mut processes: Vec<Proc>,
        role: Role,
        rewrites: [Rewrite; 2],
        commands: Vec<String>,
    ) -> Self {
        let pid = process_id(processes[0].as_child().id());
        let to = [MACS[1], MACS[0]];
        Self { pid, ours: None, _processes: processes, role, to, rewrites, commands }
    }

    /// The appliance: `ports` in its file beside the two guests, and `changes` as one batch.
    pub fn ours(
        lab: &Lab,
        sockets: &[PathBuf; 2],
        mode: Mode,
        ports: &str,
        changes: &[Value],
    ) -> Self {
        // Each start is a first one.
        let _ = std::fs::remove_dir_all(lab.dir().join("state"));
        let network = "[[network]]\nname = \"lan0\"";
        let guests = match mode {
            Mode::Uplink => uplink(&sockets[1]) + &guest(0, mode, sockets),
            _ => guest(0, mode, sockets) + &guest(1, mode, sockets),
        };
        let config = config(lab, &format!("{network}\n{guests}{ports}"));
        let appliance = Appliance::start(lab, &config, None);
        if mode == Mode::Uplink {
            let host = mac_text(MACS[1]);
            appliance.must(&format!("neighbor add {} {host} dev up0", IPS[1]));
        }
        batch(&appliance, changes);
        let mut commands = vec![format!("guestway run --config FILE, with\n{}", config.as_str())];
        if let Some(last) = changes.last() {
            commands.push(format!("POST /v1/batch, {} changes like {last}", changes.len()));
        }
        // Whom each sends to, which is who its answers come from.
        let to = match mode {
            Mode::Bridged => [MACS[1], MACS[0]],
            Mode::Routed => ["g0/eth0", "g1/eth0"].map(|port| appliance.mac_on(port)),
            Mode::Uplink => ["g0/eth0", "up0"].map(|port| appliance.mac_on(port)),
        };
        let rewrites = [1, 0].map(|other: usize| match mode {
            Mode::Bridged => Rewrite::None,
            _ => Rewrite::Route { to: MACS[other], from: to[other] },
        });
        let pid = process_id(appliance.pid());
        let ours = Some(Ours::new(appliance));
        Self { pid, ours, _processes: Vec::new(), role: Role::Connects, to, rewrites, commands }
    }

    /// The appliance, where it is it.
    pub fn appliance(&self) -> Option<&Appliance> {
        self.ours.as_ref().map(|ours| &ours.appliance)
    }

    /// What a guest sends, of `bytes` each with their FCS, and what the other one has to get.
    pub fn frames(&self, guest: usize, bytes: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let frames = frames(guest, self.to[guest], bytes);
        let wanted = self.after(guest, &frames);
        (frames, wanted)
    }

    /// What becomes of what a guest sends.
    pub fn after(&self, guest: usize, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        frames.iter().map(|frame| self.rewrites[guest].apply(frame)).collect()
    }

    /// How it was started, for the reader.
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Leaves the core to others.
    pub fn pause(&self) {
        signal(self.pid, Signal::SIGSTOP);
    }

    /// Takes it again.
    pub fn resume(&self) {
        signal(self.pid, Signal::SIGCONT);
    }

    /// Ends it, after its guests. Ours must have kept its books, and dropped nothing but what guests had
    /// no room for.
    pub fn end(mut self) -> Result<(), String> {
        self.resume();
        let Some(ours) = self.ours.take() else { return Ok(()) };
        let rows = stats(&ours.appliance);
        ours.end();
        for (port, row) in rows {
            let wrong = reasons(&row)
                .into_iter()
                .find(|(reason, count)| *count > 0 && !OVERLOAD.contains(&reason.as_str()));
            if let Some((reason, count)) = wrong {
                return Err(format!("{port} dropped {count} packets, {reason}: {row}"));
            }
        }
        Ok(())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Whoever is asked what went wrong must be able to answer.
        let _ = kill(self.pid, Signal::SIGCONT);
    }
}

/// A guest in the appliance's file.
fn guest(number: usize, mode: Mode, sockets: &[PathBuf; 2]) -> String {
    let (kind, keys) = match mode {
        Mode::Bridged => ("vm", "mode = \"virtual-network\"\nnetwork = \"lan0\""),
        _ => ("container", "mode = \"host-routed\"\nprobe = false\nannounce = false"),
    };
    format!(
        "[[guest]]\nname = \"g{number}\"\nkind = \"{kind}\"\n\
         [[guest.adapter]]\nname = \"eth0\"\nport = \"vhost-user,path={}\"\nmac = \"{}\"\n\
         addresses = [\"{}/32\"]\n{keys}\n",
        sockets[number].display(),
        mac_text(MACS[number]),
        IPS[number]
    )
}

/// An uplink whose other end is a socket, in the appliance's file.
fn uplink(socket: &Path) -> String {
    format!(
        "[[uplink]]\nname = \"up0\"\ndevice = \"net_vhost0,iface={}\"\n\
         addresses = [\"10.9.0.254/24\"]\n",
        socket.display()
    )
}
