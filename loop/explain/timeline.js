// Walk through the events of each timeline, one open at a time.
for (const timeline of document.querySelectorAll(".glassfit-explain .timeline")) {
  const events = [...timeline.querySelectorAll("ol details")];
  let place = -1;
  const walk = document.createElement("div");
  walk.className = "walk";
  const [back, next] = ["Previous", "Next"].map(text => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    return button;
  });
  const count = document.createElement("output");
  const show = to => {
    place = to;
    events.forEach((event, at) => { event.open = at === place; });
    back.disabled = place <= 0;
    next.disabled = place >= events.length - 1;
    count.textContent = place < 0 ? events.length + " events" : place + 1 + " of " + events.length;
    if (place >= 0) events[place].scrollIntoView({ block: "nearest" });
  };
  back.addEventListener("click", () => show(place - 1));
  next.addEventListener("click", () => show(place + 1));
  events.forEach((event, at) => event.querySelector("summary").addEventListener("click", click => {
    click.preventDefault();
    show(at === place ? -1 : at);
  }));
  walk.append(back, next, count);
  timeline.querySelector("ol").before(walk);
  show(-1);
}
