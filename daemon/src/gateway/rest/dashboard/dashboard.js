"use strict";
// Refreshes the tables every two seconds; text only ever enters the page as text.
const every = 2000;
// A key that is asked for is kept until the tab is closed, and goes nowhere but into the header.
const kept = "bravo-key";
const ask = async (path) => {
  const headers = { accept: "application/json" };
  const key = sessionStorage.getItem(kept);
  if (key) headers.authorization = "Bearer " + key;
  const answer = await fetch(path, { headers });
  if (answer.status === 401) {
    sessionStorage.removeItem(kept);
    document.getElementById("login").hidden = false;
  }
  if (!answer.ok) throw new Error(path + ": " + answer.status);
  return answer.json();
};
const fill = (id, rows) => {
  const lines = rows.map((cells) => {
    const line = document.createElement("tr");
    for (const cell of cells) {
      const [text, bad] = Array.isArray(cell) ? cell : [cell, false];
      const field = document.createElement("td");
      field.textContent = text ?? "–";
      if (typeof text === "number") field.classList.add("number");
      if (bad) field.classList.add("bad");
      line.append(field);
    }
    return line;
  });
  document.getElementById(id).replaceChildren(...lines);
};
document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(kept, document.getElementById("key").value.trim());
  document.getElementById("key").value = "";
  document.getElementById("login").hidden = true;
});
const span = (ms) => (ms == null ? null : ms < 1000 ? ms + " ms" : (ms / 1000).toFixed(1) + " s");
const refresh = async () => {
  const status = document.getElementById("status");
  try {
    const [cluster, queues, workers] = await Promise.all(
      ["/api/v1/cluster", "/api/v1/queues?limit=1000", "/api/v1/workers"].map(ask));
    document.getElementById("name").textContent = cluster.name;
    fill("queues", queues.queues.map((q) => [q.name, q.ready, q.scheduled, q.blocked, q.leased, [q.dead, q.dead > 0],
      span(q.oldest_ready_ms), q.paused ? "paused" : q.draining ? "draining" : "open"]));
    fill("workers", workers.workers.map((w) => [w.worker_id, w.agent_type, w.queues.join(", "), w.capacity,
      w.in_flight, w.node, w.last_heartbeat, [w.breaker, w.breaker !== "closed"]]));
    fill("nodes", cluster.nodes.map((n) => [n.id, n.public, n.peer, n.role, [n.state, n.state !== "up"], n.version]));
    fill("partitions", [cluster.meta, ...cluster.partitions].filter(Boolean).map((p) => [String(p.id),
      [p.leader, p.leader == null], p.term, p.last_applied, Math.max(0, ...p.members.map((m) => m.lag ?? 0))]));
    status.className = "";
    status.textContent = "as of " + queues.as_of;
  } catch (error) {
    status.className = "bad";
    status.textContent = String(error.message ?? error);
  }
  setTimeout(refresh, every);
};
refresh();
