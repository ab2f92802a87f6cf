"""Constants that several stages share."""

import math

MAD_TO_SD = 1.4826  # standard deviation of a normal over its median absolute deviation
LOG_2PI = math.log(2 * math.pi)  # nats: twice what a standard normal's normalisation costs in each dimension
