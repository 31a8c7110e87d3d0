//! The rules between keys, and what the disk must hold.

use super::value::check_table;
use super::{Config, ConfigError, Tls};
use bravo_model::limits::NAME_BYTES_MAX;
use rustix::fs::{Access, access};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use toml::Table;

impl Config {
    /// Everything that is wrong with this configuration, as far as it can be told without looking at
    /// the disk: forms, bounds, and the rules between keys.
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        let mut errors = match Table::try_from(self) {
            Ok(mut table) => check_table(&mut table),
            Err(error) => vec![ConfigError::new("config", error.to_string())],
        };
        if self.tls.as_ref().is_some_and(|tls| self.needs_no_peer_files(tls)) {
            errors.retain(|error| !["tls.ca", "tls.cert", "tls.key"].contains(&error.key.as_str()));
        }
        let mut rule = |key: &str, detail: Option<String>| {
            if let Some(detail) = detail {
                errors.retain(|known| known.key != key);
                errors.push(ConfigError::new(key, detail));
            }
        };
        rule("node.id", (self.node.id == 0).then(|| "is required, a number from 1".into()));
        rule("node.data_dir", self.node.data_dir.as_os_str().is_empty().then(|| "is required".into()));
        self.timing(&mut rule);
        self.sizes(&mut rule);
        self.membership(&mut rule);
        self.addresses(&mut rule);
        self.tls_files(&mut rule);
        self.cold_tier(&mut rule);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn timing(&self, rule: &mut impl FnMut(&str, Option<String>)) {
        let raft = &self.raft;
        let least = raft.heartbeat_interval_ms.saturating_mul(2);
        rule(
            "raft.election_timeout_min_ms",
            (raft.election_timeout_min_ms < least)
                .then(|| format!("must be at least twice raft.heartbeat_interval_ms ({least})")),
        );
        rule(
            "raft.election_timeout_max_ms",
            (raft.election_timeout_max_ms <= raft.election_timeout_min_ms)
                .then(|| format!("must be above raft.election_timeout_min_ms ({})", raft.election_timeout_min_ms)),
        );
    }

    fn sizes(&self, rule: &mut impl FnMut(&str, Option<String>)) {
        let room = self.storage.log_segment_bytes / 2;
        rule(
            "raft.batch_bytes_max",
            (self.raft.batch_bytes_max > room)
                .then(|| format!("must be at most half of storage.log_segment_bytes ({room})")),
        );
    }

    fn membership(&self, rule: &mut impl FnMut(&str, Option<String>)) {
        let long = self.cluster.name.len() > NAME_BYTES_MAX;
        rule("cluster.name", long.then(|| format!("must be at most {NAME_BYTES_MAX} bytes")));
        let (initial, join) = (&self.cluster.initial, &self.cluster.join);
        let both = !initial.is_empty() && !join.is_empty();
        rule("cluster.join", both.then(|| "cannot be given together with cluster.initial".into()));
        let neither = initial.is_empty() && join.is_empty();
        rule(
            "cluster.initial",
            neither.then(|| "is required, or cluster.join: say whether this node founds a cluster or joins one".into()),
        );
        if !initial.is_empty() && self.node.id != 0 {
            let missing = !initial.iter().any(|member| member.id == self.node.id);
            rule("cluster.initial", missing.then(|| format!("must hold this node, id {}", self.node.id)));
        }
        let (mut ids, mut peers, mut publics) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (index, member) in initial.iter().enumerate() {
            let twice = |what: &str| Some(format!("{what} is given twice"));
            let at = |field: &str| format!("cluster.initial[{index}].{field}");
            rule(&at("id"), if ids.insert(member.id) { None } else { twice(&member.id.to_string()) });
            rule(&at("peer"), if peers.insert(&member.peer) { None } else { twice(&member.peer) });
            rule(&at("public"), if publics.insert(&member.public) { None } else { twice(&member.public) });
        }
        let own = self.advertised_peer();
        let alone = !join.is_empty() && join.iter().all(|target| *target == own);
        rule("cluster.join", alone.then(|| "must name another node than this one".into()));
    }

    /// An advertised address must be one that others can connect to, and the one the founders know.
    fn addresses(&self, rule: &mut impl FnMut(&str, Option<String>)) {
        let pairs = [
            ("public", self.advertised_public(), self.founder().map(|member| &member.public), &self.advertise.public),
            ("peer", self.advertised_peer(), self.founder().map(|member| &member.peer), &self.advertise.peer),
        ];
        for (name, advertised, founder, chosen) in pairs {
            let key = format!("advertise.{name}");
            let nowhere = ["0.0.0.0:", "[::]:"].iter().any(|prefix| advertised.starts_with(prefix));
            if self.clustered() && nowhere {
                rule(&key, Some(format!("is required: others cannot connect to {advertised}")));
            }
            if let (Some(founder), Some(chosen)) = (founder, chosen)
                && founder != chosen
            {
                rule(&key, Some(format!("differs from this node's entry in cluster.initial ({founder})")));
            }
        }
    }

    fn tls_files(&self, rule: &mut impl FnMut(&str, Option<String>)) {
        let Some(tls) = &self.tls else {
            rule("tls", self.clustered().then(|| "is required: nodes only speak to each other over mutual TLS".into()));
            return;
        };
        let peer = [("tls.ca", &tls.ca), ("tls.cert", &tls.cert), ("tls.key", &tls.key)];
        let needed = !self.needs_no_peer_files(tls);
        for (key, path) in peer {
            let missing = needed && path.as_os_str().is_empty();
            rule(key, missing.then(|| "is required where [tls] is given".into()));
        }
        let half = tls.public_cert.is_some() != tls.public_key.is_some();
        rule("tls.public_key", half.then(|| "goes with tls.public_cert".into()));
        let alone = tls.client_ca.is_some() && tls.public_cert.is_none();
        rule("tls.client_ca", alone.then(|| "goes with tls.public_cert: certificates come with TLS".into()));
    }

    /// A node alone may have certificates for its public port only.
    fn needs_no_peer_files(&self, tls: &Tls) -> bool {
        let none = [&tls.ca, &tls.cert, &tls.key].iter().all(|path| path.as_os_str().is_empty());
        none && !self.clustered() && tls.public_cert.is_some()
    }

    fn cold_tier(&self, rule: &mut impl FnMut(&str, Option<String>)) {
        let cold = &self.cold;
        let both = cold.dir.is_some() && cold.bucket.is_some();
        rule("cold.dir", both.then(|| "cannot be given together with cold.bucket".into()));
        let half = cold.access_key_id.is_some() != cold.secret_access_key_file.is_some();
        rule("cold.access_key_id", half.then(|| "goes with cold.secret_access_key_file".into()));
        let strange = |url: &&String| !url.starts_with("http://") && !url.starts_with("https://");
        rule(
            "cold.endpoint",
            cold.endpoint.as_ref().filter(strange).map(|_| "must be an http:// or https:// URL".into()),
        );
    }

    /// Everything that is wrong with the files and folders that the configuration names.
    pub fn check_files(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if let Some(tls) = &self.tls {
            let peer = [("tls.ca", &tls.ca), ("tls.cert", &tls.cert), ("tls.key", &tls.key)];
            let public = [
                ("tls.public_cert", &tls.public_cert),
                ("tls.public_key", &tls.public_key),
                ("tls.client_ca", &tls.client_ca),
            ];
            let public = public.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
            let named = peer.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()).chain(public);
            for (key, path) in named {
                if let Err(detail) = readable(path) {
                    errors.push(ConfigError::new(key, detail));
                }
            }
        }
        if let Err(detail) = creatable(&self.node.data_dir) {
            errors.push(ConfigError::new("node.data_dir", detail));
        }
        errors
    }
}

fn readable(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match file.metadata() {
        Ok(meta) if meta.is_file() && meta.len() > 0 => Ok(()),
        Ok(meta) if meta.is_file() => Err(format!("{} is empty", path.display())),
        _ => Err(format!("{} is not a file", path.display())),
    }
}

/// Whether the folder is there and can be written, or can be made. Nothing is made here.
fn creatable(folder: &Path) -> Result<(), String> {
    for ancestor in folder.ancestors() {
        match ancestor.metadata() {
            Ok(meta) if meta.is_dir() => {
                return access(ancestor, Access::WRITE_OK | Access::EXEC_OK)
                    .map_err(|error| format!("cannot write to {}: {error}", ancestor.display()));
            }
            Ok(_) => return Err(format!("{} is not a folder", ancestor.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot reach {}: {error}", ancestor.display())),
        }
    }
    Err(format!("{} cannot be made", folder.display()))
}
