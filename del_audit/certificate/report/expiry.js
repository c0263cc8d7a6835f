"use strict";
// Says beside the dates that a certificate has expired.
if (Date.parse(document.querySelector(".dates time.until").dateTime) < Date.now()) document.querySelector(".expired").hidden = false;
