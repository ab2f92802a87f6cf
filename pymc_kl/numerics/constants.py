"""Constants that several stages share."""

import math

LOG_2PI = math.log(2 * math.pi)  # nats: twice what a standard normal's normalisation costs in each dimension
