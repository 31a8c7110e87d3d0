//! The store behind the cold tier: a folder of this node, or a bucket that all nodes share.

use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bravo_model::lifecycle::Class;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attribute, BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions};
use object_store::{PutPayload, RetryConfig};

use super::name::{ColdName, folder};
use crate::config::Cold;

/// How long one request to a bucket may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long a failed request is tried again.
const RETRY_MAX: Duration = Duration::from_secs(20);
/// A store that cannot be reached has failed after this long.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// One node's way to the cold tier.
pub(crate) struct Tier {
    store: Arc<dyn ObjectStore>,
    /// The node's own folder; none: a bucket.
    folder: Option<(LocalFileSystem, PathBuf)>,
    archive_class: Option<String>,
}

impl Tier {
    /// Opens what the configuration names. A bucket is not asked yet: it may be away now.
    pub(crate) fn open(config: &Cold, data_dir: &FilePath) -> anyhow::Result<Self> {
        let Some(bucket) = &config.bucket else {
            let dir = config.dir.clone().unwrap_or_else(|| data_dir.join("cold"));
            std::fs::create_dir_all(&dir).with_context(|| format!("the cold tier's folder {}", dir.display()))?;
            let folder = LocalFileSystem::new_with_prefix(&dir)
                .with_context(|| format!("the cold tier's folder {}", dir.display()))?
                .with_automatic_cleanup(true);
            let root = dir.canonicalize()?;
            return Ok(Self { store: Arc::new(folder.clone()), folder: Some((folder, root)), archive_class: None });
        };
        let backoff = BackoffConfig::default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.region)
            .with_retry(RetryConfig { backoff, max_retries: 10, retry_timeout: RETRY_MAX })
            .with_client_options(ClientOptions::new().with_timeout(REQUEST_MAX).with_connect_timeout(CONNECT_MAX));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let (Some(id), Some(file)) = (&config.access_key_id, &config.secret_access_key_file) {
            let secret = std::fs::read_to_string(file);
            let secret = secret.with_context(|| format!("cold.secret_access_key_file: {}", file.display()))?;
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.trim());
        }
        let store = builder.build().context("the cold tier's bucket")?;
        let store: Arc<dyn ObjectStore> = match &config.prefix {
            Some(prefix) => Arc::new(PrefixStore::new(store, prefix.as_str())),
            None => Arc::new(store),
        };
        Ok(Self { store, folder: None, archive_class: config.archive_class.clone() })
    }

    /// Whether what one node puts is there for all.
    pub(crate) fn is_shared(&self) -> bool {
        self.folder.is_none()
    }

    /// Writes a chunk in its form; durable when this returns.
    pub(crate) async fn put(&self, name: &ColdName, form: Bytes) -> Result<(), String> {
        let path = name.path();
        let mut options = PutOptions::default();
        if let (Class::Archive, Some(class)) = (name.stay.class, &self.archive_class) {
            options.attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        self.store.put_opts(&path, PutPayload::from(form), options).await.map_err(told)?;
        let Some((folder, root)) = &self.folder else { return Ok(()) };
        let (file, root) = (folder.path_to_filesystem(&path).map_err(told)?, root.clone());
        let synced = tokio::task::spawn_blocking(move || sync(&file, &root)).await;
        synced.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// A chunk in its form, which is still to be checked; none if it is not there.
    pub(crate) async fn get(&self, name: &ColdName) -> Result<Option<Bytes>, String> {
        match self.store.get(&name.path()).await {
            Ok(found) => found.bytes().await.map(Some).map_err(told),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }

    /// Removes a chunk.
    pub(crate) async fn remove(&self, name: &ColdName) -> Result<(), String> {
        match self.store.delete(&name.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    /// What there is of a partition in one class, and when each was written. Others' objects are left out.
    pub(crate) fn list(&self, class: Class, partition: u16) -> BoxStream<'static, Result<Listed, String>> {
        let found = self.store.list(Some(&Path::from(folder(class, partition))));
        let named =
            |meta: ObjectMeta| ColdName::parse(&meta.location).map(|name| (name, meta.last_modified.timestamp()));
        found.filter_map(move |one| std::future::ready(one.map(named).map_err(told).transpose())).boxed()
    }
}

/// An object, and when it was written, in seconds since 1970.
pub(crate) type Listed = (ColdName, i64);

/// The file, and the folders up to the root, which may be new.
fn sync(file: &FilePath, root: &FilePath) -> std::io::Result<()> {
    let mut at: Option<PathBuf> = Some(file.to_owned());
    while let Some(path) = at.filter(|path| path.starts_with(root)) {
        File::open(&path)?.sync_all()?;
        at = path.parent().map(FilePath::to_owned);
    }
    Ok(())
}

fn told(error: object_store::Error) -> String {
    format!("the cold tier: {error}")
}

#[cfg(test)]
mod tests {
    use bravo_model::lifecycle::{Stay, VersionId};
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_folder_keeps_what_was_put_and_lists_what_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let tier = Tier::open(&Cold::default(), dir.path()).unwrap();
        let id = VersionId { artifact: [1; 16], version: 1, made_at: 5 };
        let name = ColdName { partition: 2, id, stay: Stay { class: Class::Cold, since: 6 }, index: 0 };
        assert!(!tier.is_shared());
        assert_eq!(tier.get(&name).await.unwrap(), None);
        tier.put(&name, Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(tier.get(&name).await.unwrap().as_deref(), Some(&b"abc"[..]));
        std::fs::write(dir.path().join("cold/cold/00002/notes.txt"), "mine").unwrap();
        let listed: Vec<Listed> = tier.list(Class::Cold, 2).try_collect().await.unwrap();
        assert_eq!(listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [name]);
        assert!(
            tier.list(Class::Archive, 2).next().await.is_none() && tier.list(Class::Cold, 1).next().await.is_none()
        );
        tier.remove(&name).await.unwrap();
        tier.remove(&name).await.unwrap();
        assert_eq!(tier.get(&name).await.unwrap(), None);
    }
}
