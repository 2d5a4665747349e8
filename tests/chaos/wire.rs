//! A wire between a node and its database that can be cut, kept silent, half open or slow.
//!
//! It runs on threads of its own: an executor that stands still is among what is on trial.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// Where a server listens.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "servers differ in where they listen")]
pub(crate) enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// How it goes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Everything arrives so much later.
    Slow(Duration),
    /// Nothing arrives, and nobody is told. What is under way arrives when it clears up.
    Silent,
    /// There is nobody to connect to.
    Refusing,
    /// Who connects is hung up on, as by a proxy that has lost its server.
    HangingUp,
}

/// A port of this machine that leads to the server, in whatever weather.
#[derive(Debug)]
pub(crate) struct Wire {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: Target,
    sky: Mutex<Sky>,
    changed: Condvar,
}

#[derive(Debug)]
struct Sky {
    weather: Weather,
    /// Connections with a lower number are half open: nothing arrives over them any more.
    deaf_below: u64,
    opened: u64,
    /// Both ends of what is open.
    live: Vec<[Stream; 2]>,
    over: bool,
}

impl Wire {
    pub(crate) fn to(target: Target) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sky = Sky {
            weather: Weather::Clear,
            deaf_below: 0,
            opened: 0,
            live: Vec::new(),
            over: false,
        };
        let state = State { target, sky: Mutex::new(sky), changed: Condvar::new() };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        thread::spawn(move || listen(port, listener, &shared));
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.state.sky().weather = weather;
        self.state.changed.notify_all();
    }

    /// Ends everything that is open, in a way that both sides notice.
    pub(crate) fn cut(&self) {
        for stream in self.state.sky().live.drain(..).flatten() {
            stream.end();
        }
    }

    /// Leaves everything that is open half open: nobody notices, and nothing arrives any more. New connections work.
    pub(crate) fn half_open(&self) {
        let mut sky = self.state.sky();
        sky.deaf_below = sky.opened;
        drop(sky);
        self.state.changed.notify_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.state.sky().over = true;
        self.state.changed.notify_all();
    }
}

impl State {
    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().unwrap()
    }

    /// Waits until something may arrive over this connection; false if that will not be.
    fn clears_up(&self, number: u64) -> bool {
        let stormy = |sky: &mut Sky| {
            !sky.over && (sky.weather == Weather::Silent || number < sky.deaf_below)
        };
        let sky = self.changed.wait_while(self.sky(), stormy).unwrap();
        let (slow, over) = (sky.weather, sky.over);
        drop(sky);
        if let Weather::Slow(by) = slow {
            thread::sleep(by);
        }
        !over
    }
}

/// Lets clients in for as long as the wire lives.
fn listen(port: u16, listener: TcpListener, state: &Arc<State>) {
    let mut listener = Some(listener);
    while !state.sky().over {
        if state.sky().weather == Weather::Refusing {
            listener = None;
        } else if listener.is_none() {
            // Its port may be in use for a moment by what was cut.
            listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        }
        if let Some(listener) = &listener {
            listener.set_nonblocking(true).unwrap();
            while let Ok((client, _)) = listener.accept() {
                if state.sky().weather == Weather::HangingUp {
                    continue;
                }
                // Where the server does not answer the client meets a closed door as well.
                let _refused = open(client, state);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn open(client: TcpStream, state: &Arc<State>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_nodelay(true)?;
    let (client, server) = (Stream::Tcp(client), Stream::connect(&state.target)?);
    let mut sky = state.sky();
    let number = sky.opened;
    sky.opened += 1;
    sky.live.push([client.again()?, server.again()?]);
    drop(sky);
    for (from, to) in [(client.again()?, server.again()?), (server, client)] {
        let state = Arc::clone(state);
        thread::spawn(move || carry(number, from, to, &state));
    }
    Ok(())
}

/// Carries bytes one way until either side ends.
fn carry(number: u64, mut from: Stream, mut to: Stream, state: &State) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if !state.clears_up(number) || read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    from.end();
    to.end();
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::Unix(path) => Self::Unix(UnixStream::connect(path)?),
            Target::Tcp(address) => Self::Tcp(TcpStream::connect(address)?),
        })
    }

    fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn end(&self) {
        // One that is over is over.
        let _ended = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
