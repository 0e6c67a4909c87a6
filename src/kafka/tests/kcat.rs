//! kcat against the service on a real socket. Ignored where kcat is not installed: run with `--ignored`.

use std::process::Stdio;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::auth::Principal;
use crate::kafka::service::{Ends, serve};
use crate::kafka::shared::{KafkaConfig, Shared};
use crate::kafka::tests::double::{MemoryBroker, RealTimer};

/// Serves on an ephemeral port until the runtime ends; gives the address.
async fn listen() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Shared::new(
        Arc::new(MemoryBroker::default()),
        KafkaConfig::default(),
        Arc::new(RealTimer),
    ));
    tokio::spawn(async move {
        let (_stop, stopped) = watch::channel(false);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            tokio::spawn(async move {
                let ends = Ends { local: address, peer: address };
                let served = serve(stream, ends, Principal::anonymous(), shared, stopped).await;
                if let Err(error) = served {
                    println!("connection ended: {error}");
                }
            });
        }
    });
    address.to_string()
}

/// Runs kcat with `arguments` and `input`; gives what it printed.
async fn kcat(address: &str, arguments: &str, input: &str) -> String {
    let (address, input) = (address.to_owned(), input.to_owned());
    let arguments = arguments.to_owned();
    let run = move || {
        let mut child = std::process::Command::new("kcat")
            .args(["-b", &address, "-m", "5"])
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kcat {arguments}: {errors}");
        println!("kcat {arguments}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kcat"]
async fn kcat_lists_produces_and_consumes() {
    let address = listen().await;
    let listed = kcat(&address, "-L", "").await;
    assert!(listed.contains(&format!("broker 0 at {address} (controller)")), "{listed}");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let produce = format!("-P -t readings -K : -z {codec} -H unit=C -H unit=K");
        kcat(&address, &produce, "one:1\ntwo:2\nthree:3\n").await;
    }
    let listed = kcat(&address, "-L -t readings", "").await;
    assert!(listed.contains("topic \"readings\" with 1 partitions"), "{listed}");
    let format = "-f %o|%p|%k|%s|%h\\n";
    let read = kcat(&address, &format!("-C -t readings -o beginning -e -q {format}"), "").await;
    let lines: Vec<_> = read.lines().collect();
    assert_eq!(lines.len(), 15, "{read}");
    for (number, line) in lines.iter().enumerate() {
        let (key, value) = [("one", 1), ("two", 2), ("three", 3)][number % 3];
        assert_eq!(*line, format!("{number}|0|{key}|{value}|unit=C,unit=K"));
    }
    let tail = kcat(&address, &format!("-C -t readings -o -2 -e -q {format}"), "").await;
    assert!(tail.starts_with("13|0|two|2|"), "{tail}");
    let arguments = format!("-C -t readings -o s@4000000000000 -e -q {format}");
    assert_eq!(kcat(&address, &arguments, "").await, "");
    let early = kcat(&address, &format!("-C -t readings -o s@1000 -c 1 -q {format}"), "").await;
    assert!(early.starts_with("0|0|one|1|"), "{early}");
    let queried = kcat(&address, "-Q -t readings:0:-1", "").await;
    assert!(queried.contains("readings [0] offset 15"), "{queried}");
}
