"use strict";
// Opens the packets behind an arrow, and copies commands. Everything else is there without this.
(() => {
  const packets = JSON.parse(document.getElementById("packets").textContent);
  const panel = document.getElementById("details");
  const title = document.getElementById("details-title");
  const body = document.getElementById("details-body");
  const arrows = [...document.querySelectorAll(".arrow")];
  let open = null;

  // The arrow of each event: the one that it names, or the one that its packet is in.
  const arrowOf = new Map();
  for (const [index, detail] of Object.entries(packets)) {
    for (const packet of detail.packets) {
      for (const hop of packet.hops) {
        if (hop[4] !== null && !arrowOf.has(String(hop[4]))) arrowOf.set(String(hop[4]), index);
      }
    }
  }
  for (const index of Object.keys(packets)) arrowOf.set(index, index);

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const hexdump = (hex) => {
    const lines = [];
    for (let at = 0; at < hex.length; at += 32) {
      const bytes = hex.slice(at, at + 32).match(/../g);
      const text = bytes.map((byte) => {
        const code = parseInt(byte, 16);
        return code > 32 && code < 127 ? String.fromCharCode(code) : "·";
      });
      const offset = (at / 2).toString(16).padStart(2, "0");
      lines.push(`${offset}  ${bytes.join(" ").padEnd(47)}  ${text.join("")}`);
    }
    return lines.join("\n");
  };

  const hopTable = (packet) => {
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const name of ["Where", "Source", "Destination", "Time, s", "Event"]) {
      head.append(element("th", name, { scope: "col" }));
    }
    const rows = table.createTBody();
    for (const [what, source, destination, at, index] of packet.hops) {
      const row = rows.insertRow();
      row.append(element("td", what, { "data-label": "Where" }));
      row.append(element("td", source, { "data-label": "Source" }));
      row.append(element("td", destination, { "data-label": "Destination" }));
      row.append(element("td", at ?? "", { "data-label": "Time, s" }));
      row.append(element("td", index === null ? "" : `#${index}`, { "data-label": "Event" }));
    }
    return table;
  };

  const show = (arrow) => {
    const index = arrow.id.slice("event-".length);
    const detail = packets[index];
    if (!detail) return;
    close();
    open = arrow;
    arrow.classList.add("open");
    arrow.setAttribute("aria-expanded", "true");
    title.textContent = detail.title;
    const parts = [];
    if (detail.says) parts.push(element("p", detail.says, { class: "says" }));
    if (detail.packets.length === 0) parts.push(element("p", "No packet of it is known."));
    for (const packet of detail.packets) {
      const part = element("section", undefined, { class: "packet" });
      const first = packet.hops.find((hop) => hop[4] !== null);
      part.append(element("h3", `${packet.is} · event #${first ? first[4] : "?"}`));
      part.append(element("p", packet.about, { class: "about" }));
      part.append(hopTable(packet));
      if (packet.next !== undefined) {
        const next = element("p", "Sent on by the relay as ");
        next.append(element("a", `event #${packet.next}`, { href: `#event-${packet.next}` }));
        part.append(next);
      }
      if (packet.hex) {
        const bytes = element("details");
        bytes.append(element("summary", `First ${packet.hex.length / 2} bytes`));
        bytes.append(element("pre", hexdump(packet.hex)));
        bytes.open = detail.packets.length === 1;
        part.append(bytes);
      }
      parts.push(part);
    }
    if (detail.more > 0) {
      parts.push(element("p", `${detail.more} more packets like these are not shown.`));
    }
    body.replaceChildren(...parts);
    panel.hidden = false;
    body.scrollTop = 0;
  };

  const close = () => {
    if (!open) return;
    open.classList.remove("open");
    open.removeAttribute("aria-expanded");
    open = null;
    panel.hidden = true;
  };

  const isShown = (arrow) => arrow.getClientRects().length > 0;

  const step = (arrow, by) => {
    let at = arrows.indexOf(arrow) + by;
    while (arrows[at] && !isShown(arrows[at])) at += by;
    if (!arrows[at]) return;
    arrows[at].focus();
    if (open) show(arrows[at]);
  };

  document.addEventListener("click", (event) => {
    const arrow = event.target.closest(".arrow");
    if (arrow) {
      arrow.focus();
      show(arrow);
    }
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });

  document.addEventListener("keydown", (event) => {
    const arrow = event.target.closest?.(".arrow");
    if (event.key === "Escape" && open) {
      const back = open;
      close();
      back.focus();
    } else if (arrow && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      show(arrow);
      title.focus();
    } else if (arrow && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      step(arrow, event.key === "ArrowDown" ? 1 : -1);
    }
  });

  document.getElementById("close").addEventListener("click", () => {
    const back = open;
    close();
    back?.focus();
  });

  const copy = async (button) => {
    const text = document.getElementById(button.dataset.copy).textContent;
    const said = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      said.textContent = "Copied.";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    } catch {
      // A page from a file may be refused the clipboard: the text is selected, to be copied by hand.
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      said.textContent = "Selected; copy it with the keyboard.";
    }
  };

  const follow = () => {
    const index = location.hash.match(/^#event-(\d+)$/)?.[1];
    if (!index) return;
    const arrow = document.getElementById(`event-${arrowOf.get(index) ?? index}`);
    if (!arrow) return;
    arrow.scrollIntoView({ block: "center", inline: "center" });
    if (arrow.classList.contains("arrow")) {
      show(arrow);
      arrow.focus({ preventScroll: true });
    }
  };
  addEventListener("hashchange", follow);
  follow();
})();
