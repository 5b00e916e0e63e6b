// What the invite page can only know in the visitor's browser: their own zone, their clipboard.
"use strict";

function showYourTime() {
  const when = document.getElementById("when");
  const language = document.documentElement.lang;
  const start = new Date(when.dataset.start);
  const end = new Date(when.dataset.end);
  const yours = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const options = {
    weekday: "long", year: "numeric", month: "long", day: "numeric",
    hour: "numeric", minute: "2-digit",
  };
  const inZone = (timeZone) => new Intl.DateTimeFormat(language, { ...options, timeZone });
  const shown = inZone(yours);
  let theirs = null;
  try {
    theirs = inZone(when.dataset.zone);
  } catch {
    // This browser does not know the event's zone: then yours is worth showing all the more.
  }
  const isSame = (time) => theirs !== null && theirs.format(time) === shown.format(time);
  if (isSame(start) && isSame(end)) {
    return;
  }
  const named = new Intl.DateTimeFormat(language, { timeZone: yours, timeZoneName: "long" });
  const name = named.formatToParts(start).find((part) => part.type === "timeZoneName");
  const time = document.getElementById("yours-time");
  time.dateTime = when.dataset.start;
  time.textContent = shown.formatRange(start, end);
  document.getElementById("yours-zone").textContent = name ? name.value : yours;
  document.getElementById("yours").hidden = false;
}

function offerToCopy() {
  const button = document.getElementById("copy");
  if (!navigator.clipboard) {
    return;
  }
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById("code").textContent);
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 2000);
    } catch {
      // Not permitted: the code can be selected by hand.
      button.hidden = true;
    }
  });
  button.hidden = false;
}

// One that fails, in an old browser, must not keep the other from working.
for (const improve of [showYourTime, offerToCopy]) {
  try {
    improve();
  } catch (error) {
    console.warn(error);
  }
}
