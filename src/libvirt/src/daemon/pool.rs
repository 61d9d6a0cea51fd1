//! Disks where the daemon is: a folder of ours on its host, which may be another machine than this one.

use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;

use quick_xml::escape::escape;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt::sys;

use super::Daemon;
use super::objects::Inner;
use crate::description::{Description, Owner};
use crate::error::{HypervisorError, Object};
use crate::volume::DiskFormat;

/// How much goes into the stream at once; libvirt's messages hold a little more.
const CHUNK: usize = 256 << 10;

/// Where a cluster's disks are kept: a storage pool whose UUID is the owner's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name at libvirt.
    pub name: String,
    /// Its folder on the daemon's host.
    pub target: PathBuf,
    /// Whose it is; the id is a UUID, because pools have no other place for it.
    pub owner: Owner,
}

/// A disk whose unwritten blocks are read from another one of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Its name in the pool.
    pub name: String,
    /// The name of the disk below it.
    pub base: String,
    /// The format of the disk below it.
    pub format: DiskFormat,
    /// Its size.
    pub bytes: u64,
}

impl Pool {
    /// Where a volume is on the daemon's host.
    pub fn path(&self, volume: &str) -> PathBuf {
        self.target.join(volume)
    }

    fn to_xml(&self) -> String {
        let (name, target) = (escape(self.name.as_str()), self.target.display().to_string());
        format!(
            "<pool type='dir'><name>{name}</name><uuid>{}</uuid><target><path>{}</path><permissions><mode>0711</mode></permissions></target></pool>",
            self.owner.id,
            escape(target.as_str())
        )
    }
}

impl Daemon {
    /// Makes the pool with its folder, and starts it.
    pub async fn ensure_pool(&self, pool: &Pool) -> Result<(), HypervisorError> {
        let pool = pool.clone();
        self.call(move |inner| {
            let failed = |action| inner.operation(action, Object::Pool, &pool.name);
            let there = if let Some(there) = inner.pool(&pool)? {
                there
            } else {
                inner.connection.define_storage_pool_xml(&pool.to_xml(), 0).map_err(failed("define"))?
            };
            if !there.is_active().unwrap_or(false) {
                there.build(0).map_err(failed("make the folder of"))?;
                there.create(0).map_err(failed("start"))?;
            }
            there.set_autostart(true).map_err(failed("set to start by itself"))
        })
        .await
    }

    /// How many bytes are free where the pool is, or will be: then the nearest pool above it knows. Nothing if none does.
    pub async fn room(&self, pool: &Pool) -> Result<Option<u64>, HypervisorError> {
        let pool = pool.clone();
        self.call(move |inner| {
            if let Some(there) = inner.pool(&pool)?.filter(|there| there.is_active().unwrap_or(false)) {
                return inner.available(&there, &pool.name).map(Some);
            }
            let mut nearest: Option<(PathBuf, StoragePool)> = None;
            let all = inner.connection.list_all_storage_pools(sys::VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
            let all = all.map_err(inner.query("the storage pools"))?;
            for other in all {
                let xml = other.xml_desc(0).map_err(inner.operation("look up", Object::Pool, &pool.name))?;
                let target = PathBuf::from(Description::parse(Object::Pool, &xml)?.target);
                let is_nearer = nearest.as_ref().is_none_or(|(nearest, _)| target.starts_with(nearest));
                if target.is_absolute() && pool.target.starts_with(&target) && is_nearer {
                    nearest = Some((target, other));
                }
            }
            nearest.map(|(_, other)| inner.available(&other, &pool.name)).transpose()
        })
        .await
    }

    /// The names of the volumes of a pool; nothing if there is no such pool.
    pub async fn volumes(&self, pool: &Pool) -> Result<Option<Vec<String>>, HypervisorError> {
        let pool = pool.clone();
        self.call(move |inner| match inner.pool(&pool)? {
            Some(there) if there.is_active().unwrap_or(false) => inner.fresh_volumes(&there, &pool.name).map(Some),
            Some(_) => Ok(Some(Vec::new())),
            None => Ok(None),
        })
        .await
    }

    /// Writes a volume of `bytes` bytes from a reader; `progress` is told how many have gone.
    ///
    /// A volume of this name is replaced. It is not whole before this returns.
    pub async fn upload_volume(
        &self,
        pool: &Pool,
        (volume, bytes): (&str, u64),
        source: impl Read + Send + 'static,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<(), HypervisorError> {
        let (pool, volume) = (pool.clone(), volume.to_owned());
        self.call(move |inner| {
            let there = inner.own_pool(&pool)?;
            inner.delete_volume(&there, &volume)?;
            let xml = format!(
                "<volume><name>{}</name><capacity>{bytes}</capacity><allocation>0</allocation><target><format type='raw'/></target></volume>",
                escape(volume.as_str())
            );
            let failed = |action| inner.operation(action, Object::Volume, &volume);
            let made = StorageVol::create_xml(&there, &xml, 0).map_err(failed("make"))?;
            let stream = Stream::new(&inner.connection, 0).map_err(failed("open a stream to"))?;
            made.upload(&stream, 0, bytes, 0).map_err(failed("write"))?;
            match send(&stream, source, progress) {
                Ok(()) => stream.finish().map_err(failed("write")),
                Err(Sent::Stream(source)) => {
                    // The daemon has given the stream up already.
                    let _ = stream.abort();
                    Err(failed("write")(source))
                }
                Err(Sent::Source(source)) => {
                    let _ = stream.abort();
                    Err(HypervisorError::Source { name: volume.clone(), source })
                }
            }
        })
        .await
    }

    /// Makes a disk over another one; one that is there is kept.
    pub async fn ensure_overlay(&self, pool: &Pool, overlay: &Overlay) -> Result<(), HypervisorError> {
        let (pool, overlay) = (pool.clone(), overlay.clone());
        self.call(move |inner| {
            let there = inner.own_pool(&pool)?;
            if inner.volume(&there, &overlay.name)?.is_some() {
                return Ok(());
            }
            let base = pool.path(&overlay.base).display().to_string();
            let mut xml = format!("<volume><name>{}</name>", escape(overlay.name.as_str()));
            let _ = write!(
                xml,
                "<capacity>{}</capacity><allocation>0</allocation><target><format type='qcow2'/></target><backingStore><path>{}</path><format type='{}'/></backingStore></volume>",
                overlay.bytes,
                escape(base.as_str()),
                overlay.format.as_str()
            );
            let made = StorageVol::create_xml(&there, &xml, 0);
            made.map(drop).map_err(inner.operation("make", Object::Volume, &overlay.name))
        })
        .await
    }

    /// What a volume holds from `offset` on; nothing if it is not there, which files that others write may be.
    pub async fn read_volume(&self, pool: &Pool, volume: &str, offset: u64) -> Result<Vec<u8>, HypervisorError> {
        let (pool, volume) = (pool.clone(), volume.to_owned());
        self.call(move |inner| {
            let there = inner.own_pool(&pool)?;
            if inner.volume(&there, &volume)?.is_none() {
                there.refresh(0).map_err(inner.operation("look into", Object::Pool, &pool.name))?;
            }
            let Some(found) = inner.volume(&there, &volume)? else { return Ok(Vec::new()) };
            let failed = |action| inner.operation(action, Object::Volume, &volume);
            let stream = Stream::new(&inner.connection, 0).map_err(failed("open a stream to"))?;
            found.download(&stream, offset, 0, 0).map_err(failed("read"))?;
            let (mut text, mut buffer) = (Vec::new(), vec![0; CHUNK]);
            loop {
                match stream.recv(&mut buffer).map_err(failed("read"))? {
                    length if length > 0 => text.extend_from_slice(&buffer[..length.unsigned_abs()]),
                    _ => break,
                }
            }
            stream.finish().map_err(failed("read"))?;
            Ok(text)
        })
        .await
    }

    /// Removes a volume; one that is not there is removed already.
    pub async fn remove_volume(&self, pool: &Pool, volume: &str) -> Result<(), HypervisorError> {
        let (pool, volume) = (pool.clone(), volume.to_owned());
        self.call(move |inner| match inner.pool(&pool)? {
            Some(there) => inner.delete_volume(&there, &volume),
            None => Ok(()),
        })
        .await
    }

    /// Removes the pool with its folder and everything in it.
    pub async fn remove_pool(&self, pool: &Pool) -> Result<(), HypervisorError> {
        let pool = pool.clone();
        self.call(move |inner| {
            let Some(there) = inner.pool(&pool)? else { return Ok(()) };
            let failed = |action| inner.operation(action, Object::Pool, &pool.name);
            if there.is_active().unwrap_or(false) {
                for volume in inner.fresh_volumes(&there, &pool.name)? {
                    inner.delete_volume(&there, &volume)?;
                }
                there.destroy().map_err(failed("stop"))?;
            }
            // A folder that was never made, or that holds files of others, stays.
            let _ = there.delete(0);
            there.undefine().map_err(failed("remove"))
        })
        .await
    }
}

impl Inner {
    /// The pool of this name if it exists; an error if it is somebody else's.
    fn pool(&self, pool: &Pool) -> Result<Option<StoragePool>, HypervisorError> {
        let there = match self.connection.lookup_storage_pool_by_name(&pool.name) {
            Ok(there) => there,
            Err(error) if error.code().is(ErrorNumber::NoStoragePool) => return Ok(None),
            Err(error) => return Err(self.operation("look up", Object::Pool, &pool.name)(error)),
        };
        let uuid = there.uuid_string().map_err(self.operation("look up", Object::Pool, &pool.name))?;
        if uuid.eq_ignore_ascii_case(&pool.owner.id) {
            return Ok(Some(there));
        }
        let holder = "somebody else (its UUID is not the cluster's)".to_owned();
        Err(HypervisorError::Foreign { uri: self.uri.clone(), object: Object::Pool, name: pool.name.clone(), holder })
    }

    fn own_pool(&self, pool: &Pool) -> Result<StoragePool, HypervisorError> {
        self.pool(pool)?.ok_or_else(|| self.missing(Object::Pool, &pool.name))
    }

    fn volume(&self, pool: &StoragePool, name: &str) -> Result<Option<StorageVol>, HypervisorError> {
        match pool.lookup_storage_vol_by_name(name) {
            Ok(volume) => Ok(Some(volume)),
            Err(error) if error.code().is(ErrorNumber::NoStorageVolume) => Ok(None),
            Err(error) => Err(self.operation("look up", Object::Volume, name)(error)),
        }
    }

    fn delete_volume(&self, pool: &StoragePool, name: &str) -> Result<(), HypervisorError> {
        match self.volume(pool, name)? {
            Some(volume) => volume.delete(0).map_err(self.operation("remove", Object::Volume, name)),
            None => Ok(()),
        }
    }

    /// Bytes that are free now, not when the pool was looked into last.
    fn available(&self, pool: &StoragePool, name: &str) -> Result<u64, HypervisorError> {
        pool.refresh(0).map_err(self.operation("look into", Object::Pool, name))?;
        Ok(pool.info().map_err(self.operation("look into", Object::Pool, name))?.available)
    }

    /// The volumes, also those that others have written into the folder since it was last looked at.
    fn fresh_volumes(&self, pool: &StoragePool, name: &str) -> Result<Vec<String>, HypervisorError> {
        pool.refresh(0).map_err(self.operation("look into", Object::Pool, name))?;
        pool.list_volumes().map_err(self.operation("look into", Object::Pool, name))
    }
}

/// Why not everything was sent.
enum Sent {
    Stream(virt::error::Error),
    Source(std::io::Error),
}

fn send(stream: &Stream, mut source: impl Read, progress: impl Fn(u64)) -> Result<(), Sent> {
    let mut buffer = vec![0; CHUNK];
    let mut gone = 0;
    loop {
        let length = source.read(&mut buffer).map_err(Sent::Source)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let sent = stream.send(rest).map_err(Sent::Stream)?.unsigned_abs();
            rest = &rest[sent.min(rest.len())..];
        }
        gone += length as u64;
        progress(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(id: &str) -> Pool {
        Pool {
            name: "lab-pool".into(),
            target: "/nonexistent/lab".into(),
            owner: Owner { cluster: "lab".into(), id: id.into() },
        }
    }

    const ONE: &str = "6b1f0f5e-0000-4000-8000-000000000001";
    const TWO: &str = "6b1f0f5e-0000-4000-8000-000000000002";

    #[tokio::test]
    async fn a_pool_lives_and_dies_and_each_step_can_be_repeated() {
        let daemon = Daemon::connect("test:///default").await.unwrap();
        assert_eq!(daemon.volumes(&pool(ONE)).await.unwrap(), None);
        for _ in 0..2 {
            daemon.ensure_pool(&pool(ONE)).await.unwrap();
        }
        let base = Overlay { name: "d.qcow2".into(), base: "b.raw".into(), format: DiskFormat::Raw, bytes: 1 << 20 };
        for _ in 0..2 {
            daemon.ensure_overlay(&pool(ONE), &base).await.unwrap();
        }
        assert_eq!(daemon.volumes(&pool(ONE)).await.unwrap().unwrap(), ["d.qcow2"]);
        for _ in 0..2 {
            daemon.remove_volume(&pool(ONE), "d.qcow2").await.unwrap();
        }
        for _ in 0..2 {
            daemon.remove_pool(&pool(ONE)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_room_for_a_pool_is_known_before_it_is_made_where_one_above_it_is() {
        let daemon = Daemon::connect("test:///default").await.unwrap();
        assert_eq!(daemon.room(&pool(ONE)).await.unwrap(), None, "no pool is above it");
        let above = Pool { name: "above".into(), target: "/nonexistent".into(), ..pool(TWO) };
        daemon.ensure_pool(&above).await.unwrap();
        let all = daemon.room(&pool(ONE)).await.unwrap().unwrap();
        assert!(all > 1 << 30, "{all}");
        let disk = Overlay { name: "d".into(), base: "b".into(), format: DiskFormat::Raw, bytes: 1 << 30 };
        daemon.ensure_overlay(&above, &disk).await.unwrap();
        let less = daemon.room(&pool(ONE)).await.unwrap().unwrap();
        assert!(less <= all, "{less} of {all}");
        daemon.ensure_pool(&pool(ONE)).await.unwrap();
        assert_eq!(daemon.room(&pool(ONE)).await.unwrap(), Some(all), "it has room of its own");
        assert!(daemon.room(&pool(TWO)).await.is_err(), "it belongs to others");
    }

    #[tokio::test]
    async fn a_pool_of_others_is_refused_and_left_alone() {
        let daemon = Daemon::connect("test:///default").await.unwrap();
        daemon.ensure_pool(&pool(ONE)).await.unwrap();
        for refused in [
            daemon.ensure_pool(&pool(TWO)).await,
            daemon.remove_pool(&pool(TWO)).await,
            daemon.remove_volume(&pool(TWO), "x").await,
        ] {
            assert!(matches!(refused, Err(HypervisorError::Foreign { .. })), "{refused:?}");
        }
        assert!(daemon.volumes(&pool(ONE)).await.unwrap().is_some());
    }

    #[test]
    fn names_and_paths_are_escaped() {
        let pool = Pool { name: "a<b".into(), target: "/x&y".into(), ..pool(ONE) };
        let xml = pool.to_xml();
        assert!(xml.contains("<name>a&lt;b</name>") && xml.contains("<path>/x&amp;y</path>"), "{xml}");
    }
}
