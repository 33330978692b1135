//! A reader that believes what it is sent: the twin of every fetch.
//!
//! It asks one provider after another for a group each and puts down what comes where the group
//! belongs. It verifies nothing, bans nobody and waits as long as it takes.

use std::io::ErrorKind::{InvalidData, UnexpectedEof};

use anyhow::{Context as _, bail, ensure};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use hive_protocol::BlockId;
use hive_protocol::chunk_message::{ChunkRequest, Range};
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::message::{Request, Response};
use hive_testnet::Sample;
use hive_testnet::attack::{Attacker, Wire, framed, read_message};

/// Bytes of an answer that it takes: what a machine can bear.
const ANSWER: u64 = 32 << 20;

/// Reads a model from providers, and says what it holds then.
pub(crate) async fn read(
    network: &str,
    sample: &Sample,
    providers: &[(String, String)],
) -> anyhow::Result<Vec<u8>> {
    let reader = Attacker::new(network, 0);
    let mut wires = Vec::new();
    for (peer, address) in providers {
        wires.push((peer, reader.connect(address).await?));
    }
    let mut file = vec![0; sample.bytes().len()];
    let mut turn = wires.iter().cycle();
    let mut start = 0;
    for chunk in sample.geometry().chunks() {
        for (index, group) in chunk.groups().enumerate() {
            let Some((peer, wire)) = turn.next() else { bail!("there is nobody to ask") };
            let range = Range { chunk: chunk.id, size: chunk.size, first: index as u32, n: 1 };
            let request = ChunkRequest::new(sample.id(), vec![range]);
            let asking = ask(wire, &request).await;
            let bytes =
                asking.with_context(|| format!("`{peer}` is gone, and with it group {group}"))?;
            let at = start + index * GROUP_LEN as usize;
            // What is too little leaves a hole, what is too much runs into the next group.
            for (place, byte) in file.iter_mut().skip(at).zip(&bytes) {
                *place = *byte;
            }
        }
        start += chunk.size as usize;
    }
    Ok(file)
}

/// The bytes of an answer, whatever its header says.
async fn ask(wire: &Wire, request: &ChunkRequest) -> anyhow::Result<Vec<u8>> {
    let mut stream = wire.open_hive("chunk").await?;
    stream.write_all(&framed(&request.encode())).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    match read_message(&mut stream).await {
        Ok(_) => stream.take(ANSWER).read_to_end(&mut bytes).await.map(drop)?,
        // A header that is none has nothing behind it.
        Err(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(bytes)
}

/// Takes a block from a peer: one whose hash is that of its id is good.
pub(crate) async fn block(network: &str, id: &str, from: &str) -> anyhow::Result<()> {
    let id: BlockId = id.parse().map_err(|_| anyhow::anyhow!("`{id}` is no id"))?;
    let wire = Attacker::new(network, 0).connect(from).await?;
    let mut stream = wire.open_hive("model").await?;
    stream.write_all(&framed(&Request::Block(id).encode())).await?;
    stream.flush().await?;
    let answer = Response::decode(&read_message(&mut stream).await?)?;
    let Response::Block(bytes) = answer else { bail!("no block: {answer:?}") };
    ensure!(id.names(&bytes), "another block");
    Ok(())
}
